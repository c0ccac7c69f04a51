// When a release happens, and how to wait for it: by a timer here, by a sample in input_pacer.hpp;
// a simulation may pace a loop in the same way.
#pragma once

#include <atomic>
#include <cstdint>

#include "rtloop/core/cycle/clock.hpp"
#include "rtloop/core/cycle/fault_latch.hpp"
#include "rtloop/core/cycle/grid.hpp"

namespace rtloop {

// What ends a wait before its release: a stop that was asked for, or a fault.
class StopRequest {
  public:
    explicit StopRequest(LoopStatus &status) : fault_(status) {}
    void request() noexcept { requested_.store(true, std::memory_order_relaxed); }
    void withdraw() noexcept { requested_.store(false, std::memory_order_relaxed); }
    bool is_made() const noexcept {
        return requested_.load(std::memory_order_relaxed) || fault_.is_latched();
    }

  private:
    std::atomic<bool> requested_{false};
    FaultLatch fault_;
};

// Longest sleep of any thread of a loop without a look at the stop request.
inline constexpr int64_t kStopLatencyNs = 50'000'000;

class Pacer {
  public:
    virtual ~Pacer() = default;
    // The first release of an activation.
    virtual Release start(int64_t first_release_ns) noexcept = 0;
    // Waits for `release`. Returns when the caller woke up, never before the release; -1 as soon as
    // a stop is seen.
    virtual int64_t wait(const Release &release, const StopRequest &stop) noexcept = 0;
    // The release to wait for once cycle `cycle` is over at `now_ns`.
    virtual Release after(int64_t cycle, int64_t now_ns) noexcept = 0;
    // Whether that is all there is to know of it. Else it is the latest that it may be, and once
    // wait() returned `woke_ns` settle() says which it was, no later than that; `is_judged`: the
    // guard has judged the latest.
    virtual bool knows_next() const noexcept { return true; }
    virtual Release settle(const Release &latest, int64_t woke_ns, bool is_judged) noexcept {
        static_cast<void>(woke_ns), static_cast<void>(is_judged);
        return latest;
    }
    // Then, too: sleeps until `time_ns`, which is before it, and no longer than until the release.
    // Whether it is there.
    virtual bool rest(int64_t time_ns) noexcept {
        static_cast<void>(time_ns);
        return false;
    }
    // When the n-th release after `release` is lost, if the cycle of that one still runs then.
    virtual int64_t lost_ns(const Release & /*release*/, uint32_t /*n*/) const noexcept {
        return kNever;
    }
    // How far releases have moved from r0 + kT.
    virtual int64_t slipped_ns() const noexcept { return 0; }
};

// Releases on the absolute grid r0 + kT.
class TimerPacer final : public Pacer {
  public:
    TimerPacer(Clock &clock, const Grid &grid) : clock_(clock), grid_(grid) {}

    Release start(int64_t first_release_ns) noexcept override {
        return grid_.start(first_release_ns);
    }
    int64_t wait(const Release &release, const StopRequest &stop) noexcept override {
        int64_t now_ns = clock_.now();
        while (!stop.is_made()) {
            if (now_ns >= release.time_ns) return now_ns;
            if (release.time_ns - now_ns > kStopLatencyNs) {
                clock_.sleep_until(now_ns + kStopLatencyNs);
            } else {
                wake_at(release.time_ns, now_ns);
            }
            now_ns = clock_.now();
        }
        return -1;
    }
    Release after(int64_t cycle, int64_t now_ns) noexcept override {
        return grid_.after(cycle, now_ns);
    }
    int64_t lost_ns(const Release &release, uint32_t n) const noexcept override {
        return grid_.lost_ns(release.cycle, n);
    }
    int64_t slipped_ns() const noexcept override { return grid_.slipped_ns(); }

  private:
    static constexpr int64_t kEarlyNs = 50'000;
    static constexpr int64_t kTwoStepsNs = 200'000;  // for a shorter wait it does not pay

    // In two steps: the first wake-up pays for leaving idle and for caches that everybody else has
    // cooled, the second one is the release. cyclictest sleeps in one; see docs/benchmarks.md for
    // what it gains.
    void wake_at(int64_t time_ns, int64_t now_ns) noexcept {
        if (time_ns - now_ns > kTwoStepsNs) clock_.sleep_until(time_ns - kEarlyNs);
        clock_.sleep_until(time_ns);
    }

    Clock &clock_;
    Grid grid_;
};

}  // namespace rtloop
