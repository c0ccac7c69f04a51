// Numbers into the bytes of a message: a template, made once from the message's type, whose numbers
// are patched.
#pragma once

#include <vector>

#include "rtloop/core/topics/cdr.hpp"

namespace rtloop {

// A number in the template.
struct CdrSlot {
    size_t offset;  // of its first byte
    CdrType type;
    size_t value;  // which of the values it becomes
};

// For one thread at a time. Allocates when constructed, never after.
//
// An integer becomes the nearest of its type, halves away from zero: what is out of its range the
// nearest end, NaN 0. A boolean is whether that integer is other than 0. A float32 is the value
// itself.
class CdrWriter {
  public:
    // `stamp_offset`: of the seconds (int32) and nanoseconds (uint32) of its stamp; -1: it has
    // none. Throws std::invalid_argument for what is no message in plain CDR, and for a slot
    // outside of it.
    CdrWriter(std::vector<uint8_t> message, std::vector<CdrSlot> slots, int64_t stamp_offset);

    size_t n_values() const noexcept { return n_values_; }
    // `stamp_ns` since the epoch of ROS, 0 to 2^31 s.
    void set(const float *values, int64_t stamp_ns) noexcept;
    const uint8_t *data() const noexcept { return message_.data(); }
    size_t size() const noexcept { return message_.size(); }

  private:
    std::vector<uint8_t> message_;
    const std::vector<CdrSlot> slots_;
    const int64_t stamp_offset_;
    bool swaps_ = false;
    size_t n_values_ = 0;
};

}  // namespace rtloop
