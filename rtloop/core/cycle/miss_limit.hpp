// Weakly-hard limit: at most max_misses in any `window` consecutive cycles, at most max_consecutive
// in a row.
#pragma once

#include <cstdint>
#include <vector>

namespace rtloop {

class MissLimit {
  public:
    // 0 for max_consecutive: no limit on runs. window 0: no limit at all, only counting.
    MissLimit(uint32_t max_misses, uint32_t window, uint32_t max_consecutive)
        : max_misses_(max_misses), max_consecutive_(max_consecutive), missed_(window, 0) {}

    // Takes in one executed cycle; true when the limit is broken now.
    bool broken_after(bool miss) noexcept {
        consecutive_ = miss ? consecutive_ + 1 : 0;
        if (!missed_.empty()) {
            in_window_ += static_cast<uint32_t>(miss) - missed_[next_];
            missed_[next_] = miss ? 1 : 0;
            next_ = next_ + 1 == missed_.size() ? 0 : next_ + 1;
        }
        const bool too_many = !missed_.empty() && in_window_ > max_misses_;
        const bool too_long = max_consecutive_ > 0 && consecutive_ > max_consecutive_;
        return miss && (too_many || too_long);
    }
    void reset() noexcept {
        for (auto &m : missed_) m = 0;
        next_ = 0;
        in_window_ = consecutive_ = 0;
    }
    uint32_t consecutive() const noexcept { return consecutive_; }
    uint32_t in_window() const noexcept { return in_window_; }

  private:
    uint32_t max_misses_;
    uint32_t max_consecutive_;
    std::vector<uint8_t> missed_;
    size_t next_ = 0;
    uint32_t in_window_ = 0;
    uint32_t consecutive_ = 0;
};

}  // namespace rtloop
