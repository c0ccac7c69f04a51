// Messages as ROS serializes them: CDR (XCDR1), the layout of a type in the order of its fields,
// each number aligned to its size. Four bytes before it say in which order a number's bytes are.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace rtloop {

// Alignment counts from behind the four bytes.
constexpr size_t kCdrHeader = 4;

enum class CdrType : uint8_t {
    boolean,
    int8,
    uint8,
    int16,
    uint16,
    int32,
    uint32,
    int64,
    uint64,
    float32,
    float64,
};
constexpr uint32_t kCdrTypes = 11;

constexpr size_t size_of(CdrType type) noexcept {
    constexpr uint8_t sizes[kCdrTypes] = {1, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8};
    return sizes[static_cast<size_t>(type)];
}

enum class CdrOrder : uint8_t { not_cdr, ours, swapped };

// Of a message, by its four bytes; the last two are options that XCDR1 does not use.
inline CdrOrder order_of(const uint8_t *message, size_t size) noexcept {
    if (size < kCdrHeader || message[0] != 0 || message[1] > 1) return CdrOrder::not_cdr;
    const bool is_little = message[1] == 1;
    return is_little == (std::endian::native == std::endian::little) ? CdrOrder::ours
                                                                     : CdrOrder::swapped;
}

template <typename Number>
Number load_cdr(const uint8_t *at, bool swaps) noexcept {
    uint8_t raw[sizeof(Number)];
    std::memcpy(raw, at, sizeof(Number));
    if (swaps) std::reverse(raw, raw + sizeof(Number));
    Number number;
    std::memcpy(&number, raw, sizeof(Number));
    return number;
}

template <typename Number>
void store_cdr(uint8_t *at, Number number, bool swaps) noexcept {
    std::memcpy(at, &number, sizeof(Number));
    if (swaps) std::reverse(at, at + sizeof(Number));
}

}  // namespace rtloop
