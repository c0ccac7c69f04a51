// The newest value of one writer for one reader.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace rtloop {

// Newest-value exchange between one writer and one reader. Neither ever waits for the other,
// whatever their priorities: three slots, of which each side owns one and the third changes hands
// atomically. `Tag` goes with the values: what they are of.
template <typename Tag>
class Newest {
  public:
    Newest(size_t size, Tag none) {
        for (auto &slot : slots_) {
            slot.values.assign(size, 0.0F);
            slot.tag = none;
        }
    }
    void write(const float *values, const Tag &tag) noexcept {
        Slot &slot = slots_[back_];
        std::copy_n(values, slot.values.size(), slot.values.data());
        slot.tag = tag;
        back_ = middle_.exchange(back_ | kFresh, std::memory_order_acq_rel) & kIndex;
    }
    // Tag of the newest value, now in front(); the one for none when none was ever written.
    const Tag &refresh() noexcept {
        if (is_fresh()) {
            front_ = middle_.exchange(front_, std::memory_order_acq_rel) & kIndex;
        }
        return slots_[front_].tag;
    }
    // Reader: whether one was written since the last refresh().
    bool is_fresh() const noexcept {
        return (middle_.load(std::memory_order_relaxed) & kFresh) != 0;
    }
    const std::vector<float> &front() const noexcept { return slots_[front_].values; }

  private:
    static constexpr uint8_t kFresh = 4;
    static constexpr uint8_t kIndex = 3;
    struct Slot {
        std::vector<float> values;
        Tag tag{};
    };
    std::array<Slot, 3> slots_;
    uint8_t front_ = 0;
    uint8_t back_ = 1;
    std::atomic<uint8_t> middle_{2};
};

// With the time of the values, -1 before there are any.
class TripleBuffer : public Newest<int64_t> {
  public:
    explicit TripleBuffer(size_t size) : Newest(size, -1) {}
};

}  // namespace rtloop
