// Weakly-hard limit over jobs: at most max_misses of them lost in any `window` consecutive
// releases, at most max_consecutive in a row. A job is lost when its deadline was missed, and when
// its release was skipped.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace rtloop {

class MissLimit {
  public:
    // 0 for max_consecutive: no limit on runs. window 0: no limit at all, only counting.
    MissLimit(uint32_t max_misses, uint32_t window, uint32_t max_consecutive)
        : max_misses_(max_misses), max_consecutive_(max_consecutive), lost_(window, 0) {}

    // Take in the next releases, and then the one that was executed. True when the limit is broken
    // by what was taken in.
    bool broken_by_skipped(uint32_t n) noexcept {
        if (n == 0) return false;
        constexpr uint32_t kMost = std::numeric_limits<uint32_t>::max();
        consecutive_ += std::min(n, kMost - consecutive_);
        // A window full of lost jobs stays full.
        const size_t pushed = std::min<size_t>(n, lost_.size());
        for (size_t i = 0; i < pushed; ++i) push(true);
        return is_broken(in_window_, consecutive_);
    }
    bool broken_by(bool lost) noexcept {
        if (lost) return broken_by_skipped(1);
        consecutive_ = 0;
        push(false);
        return false;
    }
    // How many jobs lost in a row from here on break the limit; 0 when `most` of them do not.
    uint32_t breaks_after(uint32_t most) const noexcept {
        uint32_t in_window = in_window_;
        size_t next = next_;
        for (uint32_t n = 1; n <= most; ++n) {
            if (n <= lost_.size()) {  // a window full of lost jobs stays full
                in_window += 1U - lost_[next];
                next = after(next);
            }
            if (is_broken(in_window, consecutive_ + n)) return n;
        }
        return 0;
    }
    void reset() noexcept {
        std::fill(lost_.begin(), lost_.end(), uint8_t{0});
        next_ = 0;
        in_window_ = consecutive_ = 0;
    }
    uint32_t consecutive() const noexcept { return consecutive_; }
    uint32_t in_window() const noexcept { return in_window_; }

  private:
    void push(bool lost) noexcept {
        if (lost_.empty()) return;
        in_window_ += static_cast<uint32_t>(lost) - lost_[next_];
        lost_[next_] = lost ? 1 : 0;
        next_ = after(next_);
    }
    size_t after(size_t at) const noexcept { return at + 1 == lost_.size() ? 0 : at + 1; }
    bool is_broken(uint32_t in_window, uint32_t consecutive) const noexcept {
        return (!lost_.empty() && in_window > max_misses_) ||
               (max_consecutive_ > 0 && consecutive > max_consecutive_);
    }

    uint32_t max_misses_;
    uint32_t max_consecutive_;
    std::vector<uint8_t> lost_;
    size_t next_ = 0;
    uint32_t in_window_ = 0;
    uint32_t consecutive_ = 0;
};

}  // namespace rtloop
