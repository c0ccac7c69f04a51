// A tensor of the graph: a buffer of one element type that never moves.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "rtloop/core/graph/float16.hpp"

namespace rtloop {

// ONNX's own numbers, which are also ONNX Runtime's.
enum class ElementType : uint8_t {
    float32 = 1,
    uint8 = 2,
    int8 = 3,
    uint16 = 4,
    int16 = 5,
    int32 = 6,
    int64 = 7,
    boolean = 9,  // one byte, 0 or 1
    float16 = 10,
    float64 = 11,
    uint32 = 12,
    uint64 = 13,
};

size_t element_bytes(ElementType type) noexcept;
// It has values that are not finite.
bool is_float(ElementType type) noexcept;
// numpy's name of it.
const char *element_name(ElementType type) noexcept;
// Throws std::invalid_argument, with the names there are.
ElementType element_type(const std::string &name);

template <typename T>
inline constexpr ElementType kElementType{};
template <>
inline constexpr ElementType kElementType<float> = ElementType::float32;
template <>
inline constexpr ElementType kElementType<double> = ElementType::float64;
template <>
inline constexpr ElementType kElementType<Float16> = ElementType::float16;
template <>
inline constexpr ElementType kElementType<int64_t> = ElementType::int64;
template <>
inline constexpr ElementType kElementType<int32_t> = ElementType::int32;
template <>
inline constexpr ElementType kElementType<uint8_t> = ElementType::uint8;
template <>
inline constexpr ElementType kElementType<bool> = ElementType::boolean;

struct TensorSpec {
    std::string name;
    std::vector<int64_t> shape;  // all fixed
    ElementType type = ElementType::float32;
};

class Tensor {
  public:
    // Zeros. Throws std::runtime_error where a dimension is not fixed and positive.
    explicit Tensor(TensorSpec spec);

    const std::string &name() const noexcept { return spec_.name; }
    const std::vector<int64_t> &shape() const noexcept { return spec_.shape; }
    ElementType type() const noexcept { return spec_.type; }
    size_t size() const noexcept { return size_; }  // elements
    size_t bytes() const noexcept { return size_ * element_bytes(spec_.type); }
    void *data() const noexcept { return data_.get(); }
    template <typename T>
    T *as() const noexcept {
        return static_cast<T *>(data_.get());
    }

    // Of a float type; every other value is finite.
    bool is_finite() const noexcept;
    void clear() noexcept;
    // "'x' (float32, 12 elements)"
    std::string words() const;

    // Its values are those of the specification, for ever.
    bool is_constant = false;

  private:
    struct Free {
        void operator()(void *p) const noexcept { std::free(p); }
    };
    TensorSpec spec_;
    size_t size_;
    std::unique_ptr<void, Free> data_;  // 64-byte aligned, whole cache lines
};

}  // namespace rtloop
