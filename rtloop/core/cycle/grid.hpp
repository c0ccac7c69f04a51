// The release grid: r = r0 + k*T, absolute, integer, never drifting.
#pragma once

#include <algorithm>
#include <cstdint>

#include "rtloop/core/cycle/clock.hpp"

namespace rtloop {

enum class Overrun : uint8_t {
    skip = 0,      // go on with the next slot of the grid that is not past
    catch_up = 1,  // run what is due back to back, at most max_catch_up releases; skip older ones
    slip = 2,      // move the rest of the grid back by the delay; nothing is ever skipped
};

struct Release {
    int64_t cycle = 0;
    int64_t time_ns = 0;
    uint32_t skipped = 0;    // right before this one
    bool timed_out = false;  // it was to come with a sample, which did not come
};

class Grid {
  public:
    Grid(int64_t period_ns, Overrun overrun, int64_t max_catch_up)
        : period_ns_(period_ns), overrun_(overrun), max_catch_up_(max_catch_up) {}

    Release start(int64_t first_release_ns) noexcept {
        origin_ns_ = first_ns_ = first_release_ns;
        return {0, origin_ns_, 0};
    }
    // The release to wait for (or to run at once, when it is past) once cycle k is over at now_ns.
    Release after(int64_t cycle, int64_t now_ns) noexcept {
        const int64_t next = cycle + 1;
        const int64_t late_ns = now_ns - at(next);
        if (late_ns <= 0) return {next, at(next), 0};
        if (overrun_ == Overrun::slip) {
            origin_ns_ += late_ns;
            return {next, at(next), 0};
        }
        int64_t skipped = 0;
        if (overrun_ == Overrun::skip) {
            skipped = (late_ns + period_ns_ - 1) / period_ns_;
        } else {
            skipped = std::max<int64_t>(0, late_ns / period_ns_ + 1 - max_catch_up_);
        }
        return {next + skipped, at(next + skipped), static_cast<uint32_t>(skipped)};
    }
    // When the n-th release after cycle k is lost, if k still runs then: after() would skip it.
    int64_t lost_ns(int64_t cycle, uint32_t n) const noexcept {
        if (overrun_ == Overrun::slip) return kNever;
        if (overrun_ == Overrun::skip) return at(cycle + n) + 1;
        return at(cycle + n + max_catch_up_);
    }
    int64_t period_ns() const noexcept { return period_ns_; }
    int64_t slipped_ns() const noexcept { return origin_ns_ - first_ns_; }

  private:
    int64_t at(int64_t cycle) const noexcept { return origin_ns_ + cycle * period_ns_; }

    int64_t period_ns_;
    Overrun overrun_;
    int64_t max_catch_up_;
    int64_t origin_ns_ = 0;
    int64_t first_ns_ = 0;
};

}  // namespace rtloop
