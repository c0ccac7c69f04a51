// Time, and nothing but time: the same cycle runs on CLOCK_MONOTONIC and on virtual time.
#pragma once

#include <cerrno>
#include <cstdint>
#include <ctime>
#include <limits>

namespace rtloop {

inline constexpr int64_t kNsPerSecond = 1'000'000'000;
inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

class Clock {
  public:
    virtual ~Clock() = default;
    virtual int64_t now() noexcept = 0;
    // Returns at `time_ns` or later; at once when that is past.
    virtual void sleep_until(int64_t time_ns) noexcept = 0;
    // Uses up time as work would. For fault injection only.
    virtual void spend(int64_t duration_ns) noexcept = 0;
    // CPU time of the calling thread.
    virtual int64_t cpu_ns() noexcept = 0;
};

class MonotonicClock final : public Clock {
  public:
    int64_t now() noexcept override { return get(CLOCK_MONOTONIC); }
    int64_t cpu_ns() noexcept override { return get(CLOCK_THREAD_CPUTIME_ID); }
    void sleep_until(int64_t time_ns) noexcept override {
        timespec ts{time_ns / kNsPerSecond, time_ns % kNsPerSecond};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, nullptr) == EINTR) {
        }
    }
    void spend(int64_t duration_ns) noexcept override {
        const int64_t end = now() + duration_ns;
        while (now() < end) {
        }
    }

  private:
    static int64_t get(clockid_t id) noexcept {
        timespec ts;
        clock_gettime(id, &ts);
        return ts.tv_sec * kNsPerSecond + ts.tv_nsec;
    }
};

// What wants to act at an instant of virtual time: the guard, where no thread plays it.
class Alarm {
  public:
    virtual ~Alarm() = default;
    virtual int64_t due_ns() noexcept = 0;
    virtual void fire(int64_t now_ns) noexcept = 0;
};

// Time that passes only when somebody sleeps or spends it. Single-threaded.
class VirtualClock final : public Clock {
  public:
    explicit VirtualClock(int64_t start_ns = 0) : now_(start_ns) {}
    int64_t now() noexcept override { return now_; }
    void sleep_until(int64_t time_ns) noexcept override { advance_to(time_ns + oversleep_ns); }
    void spend(int64_t duration_ns) noexcept override { advance_to(now_ + duration_ns); }
    int64_t cpu_ns() noexcept override { return now_; }
    void set_alarm(Alarm *alarm) noexcept { alarm_ = alarm; }

    int64_t oversleep_ns = 0;  // how late every wake-up is

  private:
    void advance_to(int64_t time_ns) noexcept {
        while (alarm_ != nullptr && alarm_->due_ns() <= time_ns) {
            if (alarm_->due_ns() > now_) now_ = alarm_->due_ns();
            alarm_->fire(now_);
        }
        if (time_ns > now_) now_ = time_ns;
    }

    int64_t now_;
    Alarm *alarm_ = nullptr;
};

}  // namespace rtloop
