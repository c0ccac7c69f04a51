// The deadline gate: who decides, loop or guard, whether a cycle was on time. Exactly one of them
// does.
#pragma once

#include <atomic>
#include <cstdint>

#include "rtloop/core/cycle/clock.hpp"

namespace rtloop {

enum class Phase : uint64_t {
    open = 0,     // released or waiting for its release; nothing sent yet
    writing = 1,  // in time so far, outputs are being sent
    done = 2,     // finished in time, or closed
    expired = 3,  // judged a miss: at d by the guard, or by the loop itself
    waiting = 4,  // as open, for a release that may come before the one that it is armed for
};

// Wait-free for both threads: one word holds cycle index and phase.
class Gate {
  public:
    struct Armed {
        int64_t cycle;
        int64_t deadline_ns;
        int64_t limit_ns;
        Phase phase;
    };

    // Loop: watch cycle k from now on, its wait for the release included. Where it has not come
    // back at limit_ns, the limit on lost jobs is broken.
    void arm(int64_t cycle, int64_t deadline_ns, int64_t limit_ns = kNever) noexcept {
        set(cycle, deadline_ns, limit_ns, Phase::open);
    }
    // Likewise, until stop_waiting() or its deadline: it may be released before, as another number
    // or this one, and is armed anew then. False when the guard came first.
    void arm_waiting(int64_t cycle, int64_t deadline_ns, int64_t limit_ns) noexcept {
        set(cycle, deadline_ns, limit_ns, Phase::waiting);
    }
    bool stop_waiting(int64_t cycle) noexcept { return move(cycle, Phase::waiting, Phase::done); }
    void disarm() noexcept {
        deadline_ns_.store(kNever, std::memory_order_release);
        word_.store(pack(-1, Phase::done), std::memory_order_release);
    }

    // Loop: false when the guard came first.
    bool begin_write(int64_t cycle) noexcept { return move(cycle, Phase::open, Phase::writing); }
    bool end_write(int64_t cycle) noexcept { return move(cycle, Phase::writing, Phase::done); }

    // Either: the deadline of `cycle` has passed. True for the one caller that made it a miss:
    // before its result began to be sent, or while it is.
    bool expire_open(int64_t cycle) noexcept { return move(cycle, Phase::open, Phase::expired); }
    bool expire_waiting(int64_t cycle) noexcept {
        return move(cycle, Phase::waiting, Phase::expired);
    }
    bool expire_writing(int64_t cycle) noexcept {
        return move(cycle, Phase::writing, Phase::expired);
    }
    bool expire(int64_t cycle) noexcept { return expire_open(cycle) || expire_writing(cycle); }

    // Either, of an expired cycle: it has come back (loop), or the limit is broken without it
    // (guard). True for the one that came first.
    bool close(int64_t cycle) noexcept { return move(cycle, Phase::expired, Phase::done); }

    Armed armed() const noexcept {
        for (;;) {
            const uint64_t before = word_.load(std::memory_order_acquire);
            const int64_t deadline = deadline_ns_.load(std::memory_order_acquire);
            const int64_t limit = limit_ns_.load(std::memory_order_acquire);
            if (word_.load(std::memory_order_acquire) == before) {
                return {static_cast<int64_t>(before) >> kPhaseBits, deadline, limit,
                        static_cast<Phase>(before & kPhase)};
            }
        }
    }

  private:
    static constexpr int kPhaseBits = 3;
    static constexpr uint64_t kPhase = (1U << kPhaseBits) - 1;

    static uint64_t pack(int64_t cycle, Phase phase) noexcept {
        return (static_cast<uint64_t>(cycle) << kPhaseBits) | static_cast<uint64_t>(phase);
    }
    void set(int64_t cycle, int64_t deadline_ns, int64_t limit_ns, Phase phase) noexcept {
        // `done` first: the guard must never pair the old cycle with the new times.
        word_.store(pack(cycle, Phase::done), std::memory_order_release);
        deadline_ns_.store(deadline_ns, std::memory_order_release);
        limit_ns_.store(limit_ns, std::memory_order_release);
        word_.store(pack(cycle, phase), std::memory_order_release);
    }
    bool move(int64_t cycle, Phase from, Phase to) noexcept {
        uint64_t expected = pack(cycle, from);
        return word_.compare_exchange_strong(expected, pack(cycle, to), std::memory_order_acq_rel);
    }

    std::atomic<uint64_t> word_{pack(-1, Phase::done)};
    std::atomic<int64_t> deadline_ns_{kNever};
    std::atomic<int64_t> limit_ns_{kNever};
};

}  // namespace rtloop
