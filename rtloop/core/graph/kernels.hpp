// What the operators compute, on flat memory: `inputs` and `output` fit, and do not overlap.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>
#include <vector>

#include "rtloop/core/graph/node.hpp"

namespace rtloop::kernels {

using Operands = std::span<const Operand>;

// A bool is a byte in memory: whatever is not 0 is true.
template <typename T>
using Stored = std::conditional_t<std::is_same_v<T, bool>, uint8_t, T>;

// --- element by element: R f(A, …), with a mask of the inputs that have one element for all ---

template <typename Function, typename Signature = decltype(&Function::operator())>
struct Elementwise;

template <typename Function, typename R, typename... A>
struct Elementwise<Function, R (Function::*)(A...) const> {
    static constexpr ElementType result = kElementType<R>;
    static std::vector<ElementType> arguments() { return {kElementType<A>...}; }

    static Kernel kernel(size_t broadcast) {
        return choose(broadcast, std::make_index_sequence<size_t{1} << sizeof...(A)>{});
    }

  private:
    template <size_t... Mask>
    static Kernel choose(size_t broadcast, std::index_sequence<Mask...>) {
        constexpr std::array<Kernel, sizeof...(Mask)> all = {&run<Mask>...};
        return all[broadcast];
    }

    template <size_t Mask>
    static void run(Operands inputs, const Operand &output) noexcept {
        compute<Mask>(inputs, output, std::index_sequence_for<A...>{});
    }

    template <size_t Mask, size_t... I>
    static void compute(Operands inputs, const Operand &output,
                        std::index_sequence<I...>) noexcept {
        auto *__restrict out = static_cast<Stored<R> *>(output.data);
        for (size_t i = 0; i < output.size; ++i) {
            out[i] = Function{}(
                static_cast<const Stored<A> *>(inputs[I].data)[(Mask >> I & 1) != 0 ? 0 : i]...);
        }
    }
};

// --- integers: overflow wraps, as in two's complement ---

inline int64_t wrapped(uint64_t value) noexcept {
    return static_cast<int64_t>(value);
}

// The sign of the divisor, as in Python. Nothing traps: modulo 0 is 0.
inline int64_t modulo(int64_t a, int64_t b) noexcept {
    if (b == 0 || b == -1) return 0;
    const int64_t rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

// --- Cast ---

// What does not fit is what x86 makes of it, on every machine.
template <typename To, typename From>
To truncated(From value) noexcept {
    constexpr auto kLimit = -static_cast<From>(std::numeric_limits<To>::min());  // a power of two
    return value >= -kLimit && value < kLimit ? static_cast<To>(value)
                                              : std::numeric_limits<To>::min();
}

template <typename To, typename From>
To converted(From value) noexcept {
    if constexpr (std::is_same_v<From, To>) {
        return value;
    } else if constexpr (std::is_same_v<From, Float16>) {
        return converted<To>(static_cast<float>(value));
    } else if constexpr (std::is_same_v<To, Float16>) {
        return Float16(static_cast<float>(value));
    } else if constexpr (std::is_same_v<To, bool>) {
        return value != From{};
    } else if constexpr (std::is_floating_point_v<From> && std::is_same_v<To, uint8_t>) {
        return static_cast<uint8_t>(truncated<int32_t>(value));
    } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
        return truncated<To>(value);
    } else {
        return static_cast<To>(value);
    }
}

template <typename From, typename To>
void cast(Operands inputs, const Operand &output) noexcept {
    const auto *in = static_cast<const Stored<From> *>(inputs[0].data);
    auto *__restrict out = static_cast<Stored<To> *>(output.data);
    for (size_t i = 0; i < output.size; ++i) {
        if constexpr (std::is_same_v<From, bool>) {
            out[i] = converted<To>(in[i] != 0);
        } else {
            out[i] = converted<To>(in[i]);
        }
    }
}

// --- moving elements of any type, `Bytes` each ---

template <size_t Bytes>
void copy(Operands inputs, const Operand &output) noexcept {
    std::memcpy(output.data, inputs[0].data, output.size * Bytes);
}

template <size_t Bytes>
void concat(Operands inputs, const Operand &output) noexcept {
    auto *out = static_cast<char *>(output.data);
    for (const Operand &input : inputs) {
        std::memcpy(out, input.data, input.size * Bytes);
        out += input.size * Bytes;
    }
}

// A negative index counts from the end; one that is out of range is the nearest that is not.
template <size_t Bytes>
void gather(Operands inputs, const Operand &output) noexcept {
    const auto *data = static_cast<const char *>(inputs[0].data);
    const auto n = static_cast<int64_t>(inputs[0].size);
    const auto *indices = static_cast<const int64_t *>(inputs[1].data);
    auto *__restrict out = static_cast<char *>(output.data);
    for (size_t i = 0; i < output.size; ++i) {
        const int64_t index = indices[i] < 0 ? indices[i] + n : indices[i];
        std::memcpy(out + i * Bytes, data + std::clamp<int64_t>(index, 0, n - 1) * Bytes, Bytes);
    }
}

// --- float32 ---

// A row vector times a matrix [n, m].
inline void matmul(Operands inputs, const Operand &output) noexcept {
    const auto *a = static_cast<const float *>(inputs[0].data);
    const auto *row = static_cast<const float *>(inputs[1].data);
    auto *__restrict out = static_cast<float *>(output.data);
    std::fill_n(out, output.size, 0.0F);
    for (size_t i = 0; i < inputs[0].size; ++i, row += output.size) {
        for (size_t j = 0; j < output.size; ++j) out[j] += a[i] * row[j];
    }
}

inline void reduce_sum(Operands inputs, const Operand &output) noexcept {
    const auto *in = static_cast<const float *>(inputs[0].data);
    float sum = 0.0F;
    for (size_t i = 0; i < inputs[0].size; ++i) sum += in[i];
    *static_cast<float *>(output.data) = sum;
}

// Not a number stays so, and wins.
inline float maximum(float a, float b) noexcept {
    return a > b || a != a ? a : b;
}
inline float minimum(float a, float b) noexcept {
    return a < b || a != a ? a : b;
}

inline void reduce_max(Operands inputs, const Operand &output) noexcept {
    const auto *in = static_cast<const float *>(inputs[0].data);
    float largest = in[0];
    for (size_t i = 1; i < inputs[0].size; ++i) largest = maximum(largest, in[i]);
    *static_cast<float *>(output.data) = largest;
}

}  // namespace rtloop::kernels
