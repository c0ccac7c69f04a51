// IEEE 754 half precision, to and from float: not every C++20 compiler has it.
#pragma once

#include <bit>
#include <cstdint>

namespace rtloop {

struct Float16 {
    uint16_t bits = 0;

    Float16() = default;
    // Rounds to nearest, ties to even.
    explicit Float16(float value) noexcept {
        const auto f = std::bit_cast<uint32_t>(value);
        const auto sign = static_cast<uint16_t>((f >> 16) & 0x8000U);
        const uint32_t size = f & 0x7FFFFFFFU;
        uint32_t half;
        if (size > 0x7F800000U) {
            half = 0x7E00U;  // not a number
        } else if (size >= 0x47800000U) {
            half = 0x7C00U;  // 65536 and more; from 65520 on rounding leads there by itself
        } else if (size < 0x38800000U) {
            // Subnormal: the sum has the half's last place as its own, so that it does the
            // rounding.
            half = std::bit_cast<uint32_t>(std::bit_cast<float>(size) + 0.5F) -
                   std::bit_cast<uint32_t>(0.5F);
        } else {
            half = (size - 0x38000000U + 0x0FFFU + ((size >> 13) & 1U)) >> 13;
        }
        bits = static_cast<uint16_t>(sign | half);
    }

    explicit operator float() const noexcept {
        const uint32_t sign = static_cast<uint32_t>(bits & 0x8000U) << 16;
        const uint32_t exponent = (bits >> 10) & 0x1FU;
        const uint32_t fraction = bits & 0x03FFU;
        uint32_t f;
        if (exponent == 0x1FU) {
            f = 0x7F800000U | (fraction << 13);
        } else if (exponent == 0) {
            constexpr float kLastPlace = 0x1p-24F;
            f = std::bit_cast<uint32_t>(static_cast<float>(fraction) * kLastPlace);
        } else {
            f = ((exponent + 112U) << 23) | (fraction << 13);
        }
        return std::bit_cast<float>(sign | f);
    }
};

}  // namespace rtloop
