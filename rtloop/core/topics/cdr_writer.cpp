#include "rtloop/core/topics/cdr_writer.hpp"

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

namespace rtloop {

namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr size_t kStampSize = 8;

template <typename Integer>
Integer nearest(float value) noexcept {
    using Limits = std::numeric_limits<Integer>;
    // A power of two, or 0: exact as a float, where the greatest integer need not be.
    constexpr float kBegin = static_cast<float>(Limits::min());
    constexpr float kEnd = static_cast<float>(Limits::max() / 2 + 1) * 2.0F;
    if (std::isnan(value)) return 0;
    const float rounded = std::round(value);
    if (rounded <= kBegin) return Limits::min();
    if (rounded >= kEnd) return Limits::max();
    return static_cast<Integer>(rounded);
}

template <typename Integer>
void store_nearest(uint8_t *at, float value, bool swaps) noexcept {
    store_cdr(at, nearest<Integer>(value), swaps);
}

void store_number(uint8_t *at, CdrType type, float value, bool swaps) noexcept {
    switch (type) {
        case CdrType::boolean:
            *at = nearest<int32_t>(value) != 0 ? 1 : 0;
            break;
        case CdrType::int8:
            return store_nearest<int8_t>(at, value, swaps);
        case CdrType::uint8:
            return store_nearest<uint8_t>(at, value, swaps);
        case CdrType::int16:
            return store_nearest<int16_t>(at, value, swaps);
        case CdrType::uint16:
            return store_nearest<uint16_t>(at, value, swaps);
        case CdrType::int32:
            return store_nearest<int32_t>(at, value, swaps);
        case CdrType::uint32:
            return store_nearest<uint32_t>(at, value, swaps);
        case CdrType::int64:
            return store_nearest<int64_t>(at, value, swaps);
        case CdrType::uint64:
            return store_nearest<uint64_t>(at, value, swaps);
        case CdrType::float32:
            return store_cdr(at, value, swaps);
        case CdrType::float64:
            return store_cdr(at, static_cast<double>(value), swaps);
    }
}

}  // namespace

CdrWriter::CdrWriter(std::vector<uint8_t> message, std::vector<CdrSlot> slots, int64_t stamp_offset)
    : message_(std::move(message)), slots_(std::move(slots)), stamp_offset_(stamp_offset) {
    const CdrOrder order = order_of(message_.data(), message_.size());
    if (order == CdrOrder::not_cdr) throw std::invalid_argument("not a message in plain CDR");
    swaps_ = order == CdrOrder::swapped;
    const auto check = [this](size_t offset, size_t size, size_t alignment) {
        if (offset < kCdrHeader || (offset - kCdrHeader) % alignment != 0 ||
            offset > message_.size() || size > message_.size() - offset) {
            throw std::invalid_argument("there is no number at byte " + std::to_string(offset) +
                                        " of the message");
        }
    };
    std::vector<uint32_t> written(slots_.size());
    for (const CdrSlot &slot : slots_) {
        if (static_cast<uint32_t>(slot.type) >= kCdrTypes) {
            throw std::invalid_argument("there is no such type");
        }
        check(slot.offset, size_of(slot.type), size_of(slot.type));
        if (slot.value >= slots_.size() || written[slot.value]++ != 0) {
            throw std::invalid_argument("a value is written by no slot, or by several");
        }
    }
    n_values_ = slots_.size();
    if (stamp_offset_ >= 0) check(static_cast<size_t>(stamp_offset_), kStampSize, 4);
}

void CdrWriter::set(const float *values, int64_t stamp_ns) noexcept {
    for (const CdrSlot &slot : slots_) {
        store_number(message_.data() + slot.offset, slot.type, values[slot.value], swaps_);
    }
    if (stamp_offset_ < 0) return;
    uint8_t *const at = message_.data() + stamp_offset_;
    store_cdr(at, static_cast<int32_t>(stamp_ns / kSecond), swaps_);
    store_cdr(at + 4, static_cast<uint32_t>(stamp_ns % kSecond), swaps_);
}

}  // namespace rtloop
