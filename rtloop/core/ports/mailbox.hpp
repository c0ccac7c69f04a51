// A port whose far end is another thread of this process, Python included.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <utility>
#include <vector>

#include "rtloop/core/ports/port.hpp"
#include "rtloop/core/ports/safe_command.hpp"

namespace rtloop {

// Newest-value exchange between one writer and one reader. Neither ever waits for the other,
// whatever their priorities: three slots, of which each side owns one and the third changes hands
// atomically.
class TripleBuffer {
  public:
    explicit TripleBuffer(size_t size) {
        for (auto &slot : slots_) slot.values.assign(size, 0.0F);
    }
    void write(const float *values, int64_t time_ns) noexcept {
        Slot &slot = slots_[back_];
        std::copy_n(values, slot.values.size(), slot.values.data());
        slot.time_ns = time_ns;
        back_ = middle_.exchange(back_ | kFresh, std::memory_order_acq_rel) & kIndex;
    }
    // Time of the newest value, now in front(); -1 when none was ever written.
    int64_t refresh() noexcept {
        if (middle_.load(std::memory_order_relaxed) & kFresh) {
            front_ = middle_.exchange(front_, std::memory_order_acq_rel) & kIndex;
        }
        return slots_[front_].time_ns;
    }
    const std::vector<float> &front() const noexcept { return slots_[front_].values; }

  private:
    static constexpr uint8_t kFresh = 4;
    static constexpr uint8_t kIndex = 3;
    struct Slot {
        std::vector<float> values;
        int64_t time_ns = -1;
    };
    std::array<Slot, 3> slots_;
    uint8_t front_ = 0;
    uint8_t back_ = 1;
    std::atomic<uint8_t> middle_{2};
};

// Samples are put in, and the loop takes the newest; commands are left, and the newest is taken
// out. A sample that was overwritten before the loop looked was superseded, not lost: no gap.
class Mailbox final : public Port {
  public:
    // `inputs`: values of a sample, 0 for none. `safe`: the safe command, empty for no commands;
    // NaN where it is not known before prepare_safe().
    Mailbox(size_t inputs, std::vector<float> safe);
    // Options "inputs" (0) and "safe" (none). Throws std::invalid_argument.
    explicit Mailbox(const PortOptions &options);

    size_t n_inputs() const noexcept override { return n_inputs_; }
    size_t n_outputs() const noexcept override { return default_.size(); }
    void rearm() noexcept override;
    Sample read(float *values) noexcept override;
    bool write(const float *values, int64_t now_ns, int64_t deadline_ns) noexcept override;
    void prepare_default(const float *values, int64_t deadline_ns) noexcept override;
    bool write_default(int64_t now_ns) noexcept override;
    void write_safe() noexcept override;
    bool takes_safe() const noexcept override { return true; }
    bool prepare_safe(const float *values) noexcept override { return safe_.prepare(values); }
    std::vector<std::pair<std::string, int64_t>> counters() const override;
    bool put(const float *values, int64_t time_ns) noexcept override;
    // Before the first command, and once the safe command was sent, the safe command is in force.
    bool newest(float *values, int64_t &time_ns) noexcept override;

  private:
    size_t n_inputs_;
    const std::vector<float> first_;  // before there is a command, or a safe one
    std::vector<float> default_;
    SafeCommand safe_;
    TripleBuffer samples_;
    TripleBuffer commands_;
    std::atomic<int64_t> safe_since_ns_{-1};
    std::atomic<int64_t> n_commands_{0};  // taken, in all activations
};

}  // namespace rtloop
