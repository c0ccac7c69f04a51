// Time, and nothing but time: the same cycle runs on CLOCK_MONOTONIC and on virtual time.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <ctime>
#include <limits>
#include <vector>

namespace rtloop {

inline constexpr int64_t kNsPerSecond = 1'000'000'000;
inline constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

// What comes when it comes.
class Awaited {
  public:
    // Whether it is there: at once where it is or where `until_ns` of CLOCK_MONOTONIC is past, else
    // as soon as it comes, then at the latest.
    virtual bool await(int64_t until_ns) noexcept = 0;

  protected:
    ~Awaited() = default;
};

class Clock {
  public:
    virtual ~Clock() = default;
    virtual int64_t now() noexcept = 0;
    // Returns at `time_ns` or later; at once when that is past.
    virtual void sleep_until(int64_t time_ns) noexcept = 0;
    // Likewise, or as soon as `what` is there, and whether it is.
    virtual bool wait_for(Awaited &what, int64_t time_ns) noexcept = 0;
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
    bool wait_for(Awaited &what, int64_t time_ns) noexcept override { return what.await(time_ns); }
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

// What wants to act at an instant of virtual time: the guard, where no thread plays it, or whoever
// brings a sample.
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
    bool wait_for(Awaited &what, int64_t time_ns) noexcept override {
        constexpr int64_t kAtOnce = 0;
        if (what.await(kAtOnce)) return true;
        bool is_there = false;
        while (!is_there && now_ < time_ns) {
            Alarm *alarm = next();
            advance_to(alarm == nullptr ? time_ns : std::min(time_ns, alarm->due_ns()));
            is_there = what.await(kAtOnce);
        }
        if (oversleep_ns > 0) advance_to(now_ + oversleep_ns);
        return is_there || what.await(kAtOnce);
    }
    void spend(int64_t duration_ns) noexcept override { advance_to(now_ + duration_ns); }
    int64_t cpu_ns() noexcept override { return now_; }
    void add(Alarm *alarm) { alarms_.push_back(alarm); }
    void remove(Alarm *alarm) noexcept { std::erase(alarms_, alarm); }

    int64_t oversleep_ns = 0;  // how late every wake-up is

  private:
    void advance_to(int64_t time_ns) noexcept {
        for (Alarm *alarm = next(); alarm != nullptr && alarm->due_ns() <= time_ns;
             alarm = next()) {
            now_ = std::max(now_, alarm->due_ns());
            alarm->fire(now_);
        }
        now_ = std::max(now_, time_ns);
    }
    // The one that is due first; of several, who was there first.
    Alarm *next() const noexcept {
        Alarm *first = nullptr;
        for (Alarm *alarm : alarms_) {
            if (first == nullptr || alarm->due_ns() < first->due_ns()) first = alarm;
        }
        return first;
    }

    int64_t now_;
    std::vector<Alarm *> alarms_;
};

}  // namespace rtloop
