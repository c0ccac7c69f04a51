// The line of a link: a descriptor that stays the same while what is behind it is exchanged, by
// another thread and while loop and guard go on.
#pragma once

#include <atomic>
#include <cstdint>

#include "rtloop/core/words.hpp"

namespace rtloop {

// What was agreed on over a line, before the loop uses it.
struct LineTerms {
    int64_t clock_offset_ns = 0;  // device clock - CLOCK_MONOTONIC, from the handshake
    int64_t clock_error_ns = 0;
    int64_t clock_time_ns = 0;       // when that was measured
    int64_t obey_timeout_ns = 0;     // a command is applied and confirmed in it; 0: not watched
    int64_t silence_timeout_ns = 0;  // no SENSOR for so long: the link is lost
    bool is_armed = true;            // whether commands may be sent at all
    bool accounts = false;           // the device is asked for its own account once a second
};

// Attached → lost, by the loop; lost → offered or given up, by whoever opens it anew; offered →
// attached, by the loop. Each of the four is left by one thread only, and nobody waits for another
// but the one that opens.
class Line {
  public:
    // Duplicates `fd` and sets it to non-blocking. Throws std::system_error.
    explicit Line(int fd);
    ~Line();
    Line(const Line &) = delete;
    Line &operator=(const Line &) = delete;

    // Any: constant. Once let go, and until another one is offered, it takes everything and gives
    // nothing.
    int fd() const noexcept { return fd_; }

    // Loop, once before an activation: what was lost before does not count.
    void reset() noexcept;
    // Loop: from here on nothing but STOP is sent.
    void lose(int error, int64_t now_ns) noexcept;
    // Loop: the terms of a new line, once; it is attached. nullptr when there is none.
    const LineTerms *take(int64_t now_ns) noexcept;
    bool is_attached() const noexcept { return state_.load() == State::attached; }
    // Loop: why there will be no other; none while there may be.
    FaultReason given_up_for() const noexcept;

    // A command that the guard may have to send is for the line of its time and for no other. Loop:
    // its number. Guard: true when that one is attached still; then nothing is exchanged before
    // end_sending(), which is called either way.
    uint32_t number() const noexcept { return number_.load(); }
    bool begin_sending(uint32_t number) noexcept;
    void end_sending() noexcept { guard_sends_.store(false); }

    // Any: lost, and neither offered nor given up yet; and the errno that goes with it.
    bool is_lost() const noexcept { return state_.load() == State::lost; }
    int error() const noexcept { return error_.load(std::memory_order_relaxed); }
    // One other thread, while is_lost(). let_go: the device behind is nobody's any more; a kernel
    // gives a device that comes back its old name only when nobody holds the old one open. offer:
    // duplicates `fd`; throws std::system_error. give_up: it will not come back.
    void let_go();
    void offer(int fd, const LineTerms &terms);
    void give_up(FaultReason reason) noexcept;

    // Any: how often it was lost and taken again, and for how long in all.
    int64_t losses() const noexcept { return losses_.load(std::memory_order_relaxed); }
    int64_t reconnections() const noexcept { return n_taken_.load(std::memory_order_relaxed); }
    int64_t lost_ns(int64_t now_ns) const noexcept;

  private:
    enum class State { attached, lost, offered, given_up };

    void exchange(int fd);

    int fd_;
    std::atomic<State> state_{State::attached};
    std::atomic<uint32_t> number_{0};  // even: attached
    std::atomic<bool> guard_sends_{false};
    std::atomic<FaultReason> reason_{FaultReason::none};
    LineTerms terms_;  // whose turn it is, by state_
    std::atomic<int> error_{0};
    std::atomic<int64_t> losses_{0};
    std::atomic<int64_t> n_taken_{0};
    std::atomic<int64_t> lost_since_ns_{-1};
    std::atomic<int64_t> lost_ns_{0};  // without the one that lasts
};

}  // namespace rtloop
