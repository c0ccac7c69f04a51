// What a port has to report beside its samples: an event of its own, or of the device behind it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "rtloop/core/words.hpp"

namespace rtloop {

// What an event does not speak of is zero. In recordings: fields are added at the end.
struct PortEvent {
    int64_t number = 0;           // of all the loop's events; a gap is what nobody could keep
    int64_t time_ns = 0;          // CLOCK_MONOTONIC; of a device's event, by its clock as mapped
    int64_t clock_offset_ns = 0;  // `clock`: device clock - CLOCK_MONOTONIC,
    int64_t clock_error_ns = 0;   // right within this
    int32_t clock_skew_ppb = 0;   // how much faster the device's clock runs; 0: not known yet
    int32_t lateness_us = 0;      // `late_command`: after its valid-until; `deadline_miss`
    // A device's event: of its kind since it booted, told or not. `clock`: packets so far whose
    // times contradicted the bound.
    uint32_t total = 0;
    int32_t error = 0;            // errno, where the event has one
    uint16_t device_reasons = 0;  // rtl_reason bits
    uint16_t port = 0;            // index of the port in its loop
    PortEventKind kind = PortEventKind::clock;
    uint8_t loop_class = 0;    // a device's event: of the loop that armed it; a miss: of its own
    uint8_t device_state = 0;  // rtl_state
    uint8_t device_event = 0;  // a device's event: its rtl_event_kind as it was sent
};
static_assert(std::is_trivially_copyable_v<PortEvent>);
static_assert(sizeof(PortEvent) == 56, "the ring and the recording depend on this layout");

// Events of one port on their way to the ring. Of the loop's thread alone: it holds what a flood
// brings until the loop, which takes a few each cycle, comes to it. What finds no room is counted.
class PortEventQueue {
  public:
    void add(const PortEvent &event) noexcept {
        if (size_ == kRoom) {
            ++dropped_;
            return;
        }
        events_[(first_ + size_) % kRoom] = event;
        ++size_;
    }
    // The oldest; false when there is none.
    bool take(PortEvent &event) noexcept {
        if (size_ == 0) return false;
        event = events_[first_];
        first_ = (first_ + 1) % kRoom;
        --size_;
        return true;
    }
    // How many found no room since the last call.
    uint32_t take_dropped() noexcept { return std::exchange(dropped_, 0); }
    void clear() noexcept { first_ = size_ = dropped_ = 0; }

    static constexpr uint32_t kRoom = 64;

  private:
    std::array<PortEvent, kRoom> events_;
    uint32_t first_ = 0;
    uint32_t size_ = 0;
    uint32_t dropped_ = 0;
};

}  // namespace rtloop
