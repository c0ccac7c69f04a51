// Ports that another thread, Python included, reads and writes: a wait-free triple buffer each way.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "rtloop/core/ports/port.hpp"

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

// Another thread puts samples in; the loop takes the newest.
class InputMailbox final : public InputPort {
  public:
    explicit InputMailbox(size_t size) : size_(size), buffer_(size) {}
    size_t input_size() const noexcept override { return size_; }
    int64_t read(float *values, int64_t) noexcept override {
        const int64_t time_ns = buffer_.refresh();
        if (time_ns >= 0) std::copy_n(buffer_.front().data(), size_, values);
        return time_ns;
    }
    void put(const float *values, int64_t time_ns) noexcept { buffer_.write(values, time_ns); }

  private:
    size_t size_;
    TripleBuffer buffer_;
};

// The loop leaves commands here; another thread takes the newest.
class OutputMailbox final : public OutputPort {
  public:
    explicit OutputMailbox(std::vector<float> safe)
        : safe_(std::move(safe)), buffer_(safe_.size()) {}
    size_t output_size() const noexcept override { return safe_.size(); }
    bool write(const float *values, int64_t now_ns, int64_t) noexcept override {
        buffer_.write(values, now_ns);
        return true;
    }
    // A flag, not a value in the buffer: the guard must not become its second writer.
    void write_safe() noexcept override { safe_in_force_.store(true, std::memory_order_release); }
    void rearm() noexcept override { safe_in_force_.store(false, std::memory_order_release); }

    // Before the first command, and once the safe command was sent, the safe vector is in force.
    const std::vector<float> &newest(int64_t &time_ns) noexcept {
        time_ns = buffer_.refresh();
        const bool safe = time_ns < 0 || safe_in_force_.load(std::memory_order_acquire);
        return safe ? safe_ : buffer_.front();
    }
    bool safe_in_force() const noexcept { return safe_in_force_.load(std::memory_order_acquire); }

  private:
    std::vector<float> safe_;
    TripleBuffer buffer_;
    std::atomic<bool> safe_in_force_{true};
};

}  // namespace rtloop
