#include "rtloop/core/graph/tensor.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <stdexcept>

namespace rtloop {

namespace {

struct Element {
    ElementType type;
    const char *name;
    size_t bytes;
};

constexpr std::array kElements = {
    Element{ElementType::float32, "float32", 4}, Element{ElementType::float64, "float64", 8},
    Element{ElementType::float16, "float16", 2}, Element{ElementType::int64, "int64", 8},
    Element{ElementType::int32, "int32", 4},     Element{ElementType::int16, "int16", 2},
    Element{ElementType::int8, "int8", 1},       Element{ElementType::uint64, "uint64", 8},
    Element{ElementType::uint32, "uint32", 4},   Element{ElementType::uint16, "uint16", 2},
    Element{ElementType::uint8, "uint8", 1},     Element{ElementType::boolean, "bool", 1},
};

const Element &element(ElementType type) noexcept {
    return *std::find_if(kElements.begin(), kElements.end(),
                         [type](const Element &e) { return e.type == type; });
}

size_t element_count(const TensorSpec &spec) {
    size_t n = 1;
    for (const int64_t d : spec.shape) {
        if (d <= 0) {
            throw std::runtime_error("tensor '" + spec.name + "' has a dimension of " +
                                     std::to_string(d) + ", which is not fixed and positive");
        }
        n *= static_cast<size_t>(d);
    }
    return n;
}

// All exponent bits set: infinite or not a number.
template <typename Bits>
bool finite(const void *data, size_t n, Bits exponent) noexcept {
    const auto *values = static_cast<const unsigned char *>(data);
    Bits found = 0;  // no wider nor narrower than the values: so it is done several at a time
    for (size_t i = 0; i < n; ++i) {
        Bits bits;
        std::memcpy(&bits, values + i * sizeof(bits), sizeof(bits));
        found |= static_cast<Bits>((bits & exponent) == exponent);
    }
    return found == 0;
}

}  // namespace

size_t element_bytes(ElementType type) noexcept {
    return element(type).bytes;
}

bool is_float(ElementType type) noexcept {
    return type == ElementType::float32 || type == ElementType::float64 ||
           type == ElementType::float16;
}

const char *element_name(ElementType type) noexcept {
    return element(type).name;
}

ElementType element_type(const std::string &name) {
    std::string known;
    for (const Element &e : kElements) {
        if (name == e.name) return e.type;
        known += (known.empty() ? "" : ", ") + std::string(e.name);
    }
    throw std::invalid_argument("'" + name + "' is no element type; there are: " + known);
}

Tensor::Tensor(TensorSpec spec) : spec_(std::move(spec)), size_(element_count(spec_)) {
    constexpr size_t kLine = 64;
    const size_t allocated = (bytes() + kLine - 1) / kLine * kLine;
    data_.reset(std::aligned_alloc(kLine, allocated));
    if (!data_) throw std::bad_alloc();
    std::memset(data_.get(), 0, allocated);
}

bool Tensor::is_finite() const noexcept {
    switch (spec_.type) {
        case ElementType::float32:
            return finite<uint32_t>(data(), size_, 0x7F800000U);
        case ElementType::float64:
            return finite<uint64_t>(data(), size_, 0x7FF0000000000000U);
        case ElementType::float16:
            return finite<uint16_t>(data(), size_, 0x7C00U);
        default:
            return true;
    }
}

void Tensor::clear() noexcept {
    std::memset(data_.get(), 0, bytes());
}

std::string Tensor::words() const {
    return "'" + name() + "' (" + element_name(type()) + ", " + std::to_string(size_) +
           (size_ == 1 ? " element)" : " elements)");
}

}  // namespace rtloop
