// The safe command of a port, made ready by the loop and put in force by anybody.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

namespace rtloop {

// Wait-free for all. Of two slots the loop writes the one that is not in use, and one atomic word
// says which is, and whether it is in force. From then on neither changes, so that any number of
// threads may copy it: the values that the loop prepared last, all of them at once.
class SafeCommand {
  public:
    explicit SafeCommand(const std::vector<float> &values) : slots_{values, values} {}

    // Loop. False when one is in force already: it stays as it is.
    bool prepare(const float *values) noexcept {
        const uint8_t other = in_use_ ^ 1U;
        std::copy_n(values, slots_[other].size(), slots_[other].data());
        uint8_t expected = in_use_;
        // Nobody else changes the word, but to put it in force.
        if (!word_.compare_exchange_strong(expected, other, std::memory_order_acq_rel)) {
            return false;
        }
        in_use_ = other;
        return true;
    }
    // Loop: none is in force any more.
    void withdraw() noexcept { word_.store(in_use_, std::memory_order_release); }

    // Anybody, any number of times. Whether it was not before.
    bool put_in_force() noexcept {
        return (word_.fetch_or(kInForce, std::memory_order_acq_rel) & kInForce) == 0;
    }
    bool is_in_force() const noexcept {
        return (word_.load(std::memory_order_acquire) & kInForce) != 0;
    }
    // Anybody. False where none is in force, or where it was withdrawn meanwhile.
    bool copy(float *values) noexcept {
        const uint8_t before = word_.load(std::memory_order_acquire);
        if ((before & kInForce) == 0) return false;
        const std::vector<float> &slot = slots_[before & kSlot];
        std::copy_n(slot.data(), slot.size(), values);
        return word_.fetch_or(0, std::memory_order_acq_rel) == before;
    }

  private:
    static constexpr uint8_t kSlot = 1;
    static constexpr uint8_t kInForce = 2;
    std::array<std::vector<float>, 2> slots_;
    uint8_t in_use_ = 0;  // of the loop alone
    std::atomic<uint8_t> word_{0};
};

}  // namespace rtloop
