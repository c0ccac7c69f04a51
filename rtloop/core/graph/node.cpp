#include "rtloop/core/graph/node.hpp"

#include <set>
#include <stdexcept>

#include "rtloop/core/graph/kernels.hpp"

namespace rtloop {

namespace {

using kernels::modulo;
using kernels::wrapped;
using Types = std::vector<ElementType>;

// --- operators that work element by element: one row for each signature ---

struct ElementwiseRow {
    const char *name;
    Types arguments;
    ElementType result;
    Kernel (*kernel)(size_t broadcast);
};

template <typename Function>
ElementwiseRow row(const char *name, Function) {
    using E = kernels::Elementwise<Function>;
    return {name, E::arguments(), E::result, &E::kernel};
}

uint64_t bits(int64_t value) {
    return static_cast<uint64_t>(value);
}

const std::vector<ElementwiseRow> &elementwise_rows() {
    static const std::vector<ElementwiseRow> rows = {
        row("Add", [](float a, float b) { return a + b; }),
        row("Sub", [](float a, float b) { return a - b; }),
        row("Mul", [](float a, float b) { return a * b; }),
        row("Div", [](float a, float b) { return a / b; }),
        row("Max", [](float a, float b) { return kernels::maximum(a, b); }),
        row("Min", [](float a, float b) { return kernels::minimum(a, b); }),
        row("Neg", [](float a) { return -a; }),
        row("Abs", [](float a) { return std::fabs(a); }),
        row("Floor", [](float a) { return std::floor(a); }),
        row("Sqrt", [](float a) { return std::sqrt(a); }),
        row("Sin", [](float a) { return std::sin(a); }),
        row("Cos", [](float a) { return std::cos(a); }),
        row("Asin", [](float a) { return std::asin(a); }),
        row("Acos", [](float a) { return std::acos(a); }),
        row("Atan", [](float a) { return std::atan(a); }),
        row("Add", [](int64_t a, int64_t b) { return wrapped(bits(a) + bits(b)); }),
        row("Sub", [](int64_t a, int64_t b) { return wrapped(bits(a) - bits(b)); }),
        row("Mul", [](int64_t a, int64_t b) { return wrapped(bits(a) * bits(b)); }),
        row("Mod", [](int64_t a, int64_t b) { return modulo(a, b); }),
        row("Less", [](float a, float b) { return a < b; }),
        row("Less", [](int64_t a, int64_t b) { return a < b; }),
        row("LessOrEqual", [](float a, float b) { return a <= b; }),
        row("LessOrEqual", [](int64_t a, int64_t b) { return a <= b; }),
        row("Greater", [](float a, float b) { return a > b; }),
        row("Greater", [](int64_t a, int64_t b) { return a > b; }),
        row("GreaterOrEqual", [](float a, float b) { return a >= b; }),
        row("GreaterOrEqual", [](int64_t a, int64_t b) { return a >= b; }),
        row("Equal", [](float a, float b) { return a == b; }),
        row("Equal", [](int64_t a, int64_t b) { return a == b; }),
        row("And", [](bool a, bool b) { return a && b; }),
        row("Or", [](bool a, bool b) { return a || b; }),
        row("Not", [](bool a) { return !a; }),
        row("Where", [](bool c, float x, float y) { return c ? x : y; }),
        row("Where", [](bool c, int64_t x, int64_t y) { return c ? x : y; }),
    };
    return rows;
}

// --- how a node is bound ---

struct Binding {
    const std::string &op;
    const std::vector<const Tensor *> &inputs;
    const Tensor &output;
    std::vector<Operand> &operands;  // of the inputs; a rule may change what the kernel gets

    [[noreturn]] void refuse(const std::string &right) const {
        std::string found;
        for (const Tensor *t : inputs) found += (found.empty() ? "" : ", ") + t->words();
        throw std::invalid_argument("node '" + output.name() + "': " + op + " takes " + right +
                                    "; found (" + found + ") → " + output.words());
    }
    void expect(bool fits, const char *right) const {
        if (!fits) refuse(right);
    }
    bool is(std::initializer_list<ElementType> arguments, ElementType result) const {
        return Types(arguments) == types() && output.type() == result;
    }
    Types types() const {
        Types all;
        for (const Tensor *t : inputs) all.push_back(t->type());
        return all;
    }
};

std::string signature(const ElementwiseRow &row) {
    std::string text;
    for (const ElementType t : row.arguments)
        text += (text.empty() ? "(" : ", ") + std::string(element_name(t));
    return text + ") → " + element_name(row.result);
}

size_t broadcast_mask(const Binding &b) {
    size_t largest = 0;
    size_t mask = 0;
    for (const Tensor *t : b.inputs) largest = std::max(largest, t->size());
    bool fits = b.output.size() == largest;
    for (size_t i = 0; i < b.inputs.size(); ++i) {
        const size_t n = b.inputs[i]->size();
        fits &= n == largest || n == 1;
        if (n == 1) mask |= size_t{1} << i;
    }
    b.expect(fits, "operands of as many elements as the result, or of one");
    return mask;
}

// Null where no row has the name.
Kernel bind_elementwise(const Binding &b) {
    std::string signatures;
    for (const ElementwiseRow &row : elementwise_rows()) {
        if (b.op != row.name) continue;
        if (row.arguments == b.types() && row.result == b.output.type()) {
            return row.kernel(broadcast_mask(b));
        }
        signatures += (signatures.empty() ? "" : " or ") + signature(row);
    }
    if (!signatures.empty()) b.refuse(signatures);
    return nullptr;
}

// `make` for elements of so many bytes, as a constant.
template <typename Make>
Kernel of_bytes(ElementType type, Make make) {
    switch (element_bytes(type)) {
        case 1:
            return make(std::integral_constant<size_t, 1>{});
        case 2:
            return make(std::integral_constant<size_t, 2>{});
        case 4:
            return make(std::integral_constant<size_t, 4>{});
        default:
            return make(std::integral_constant<size_t, 8>{});
    }
}

Kernel copy_of(ElementType type) {
    return of_bytes(type, [](auto bytes) -> Kernel { return &kernels::copy<bytes>; });
}

Kernel gather_of(ElementType type) {
    return of_bytes(type, [](auto bytes) -> Kernel { return &kernels::gather<bytes>; });
}

Kernel bind_copy(Binding &b) {
    const bool has_shape = b.op == "Reshape" && b.inputs.size() == 2 &&
                           b.inputs[1]->type() == ElementType::int64 && b.inputs[1]->is_constant;
    b.expect((b.inputs.size() == 1 || has_shape) && b.inputs[0]->type() == b.output.type() &&
                 b.inputs[0]->size() == b.output.size(),
             b.op == "Reshape" ? "a tensor of the result's type and size, and perhaps a constant "
                                 "int64 shape"
                               : "one tensor of the result's type and size");
    return copy_of(b.output.type());
}

Kernel bind_concat(Binding &b) {
    size_t n = 0;
    bool fits = !b.inputs.empty();
    for (const Tensor *t : b.inputs) {
        n += t->size();
        fits &= t->type() == b.output.type();
    }
    b.expect(fits && n == b.output.size(),
             "tensors of the result's type, which together have its size");
    return of_bytes(b.output.type(), [](auto bytes) -> Kernel { return &kernels::concat<bytes>; });
}

// Where the indices are constant they are checked here, and a run of neighbours is a copy.
Kernel bind_gather(Binding &b) {
    b.expect(b.inputs.size() == 2 && b.inputs[0]->type() == b.output.type() &&
                 b.inputs[1]->type() == ElementType::int64 &&
                 b.inputs[1]->size() == b.output.size(),
             "a tensor of the result's type, and as many int64 indices as the result has elements");
    const Tensor &data = *b.inputs[0];
    const Tensor &indices = *b.inputs[1];
    const size_t bytes = element_bytes(data.type());
    if (!indices.is_constant) return gather_of(data.type());
    const auto n = static_cast<int64_t>(data.size());
    bool is_run = true;
    const auto from_start = [&](size_t i) {
        const int64_t index = indices.as<int64_t>()[i];
        return index < 0 ? index + n : index;
    };
    for (size_t i = 0; i < indices.size(); ++i) {
        const int64_t index = from_start(i);
        if (index < 0 || index >= n) {
            b.refuse("indices from " + std::to_string(-n) + " to " + std::to_string(n - 1) +
                     ", index " + std::to_string(i) + " is " +
                     std::to_string(indices.as<int64_t>()[i]));
        }
        is_run &= index == from_start(0) + static_cast<int64_t>(i);
    }
    if (!is_run) return gather_of(data.type());
    b.operands = {{data.as<char>() + static_cast<size_t>(from_start(0)) * bytes, b.output.size()}};
    return copy_of(data.type());
}

// `make` for the C++ type of the element; null for a type that Cast does not know.
template <typename Make>
Kernel of_type(ElementType type, Make make) {
    Kernel kernel = nullptr;
    const auto one = [&]<typename... T>(std::type_identity<T>... t) {
        ((kElementType<T> == type ? void(kernel = make(t)) : void()), ...);
    };
    one(std::type_identity<float>{}, std::type_identity<double>{}, std::type_identity<Float16>{},
        std::type_identity<int64_t>{}, std::type_identity<int32_t>{}, std::type_identity<uint8_t>{},
        std::type_identity<bool>{});
    return kernel;
}

Kernel bind_cast(Binding &b) {
    Kernel kernel = nullptr;
    if (b.inputs.size() == 1 && b.inputs[0]->size() == b.output.size()) {
        kernel = of_type(b.inputs[0]->type(), [&]<typename From>(std::type_identity<From>) {
            return of_type(b.output.type(), []<typename To>(std::type_identity<To>) -> Kernel {
                return &kernels::cast<From, To>;
            });
        });
    }
    b.expect(kernel != nullptr,
             "one tensor of the result's size, between float32, float64, float16, int64, int32, "
             "uint8 and bool");
    return kernel;
}

Kernel bind_matmul(Binding &b) {
    constexpr ElementType kFloat = ElementType::float32;
    bool fits = b.is({kFloat, kFloat}, kFloat) && b.inputs[1]->shape().size() == 2;
    if (fits) {
        const auto &shape = b.inputs[1]->shape();
        fits = static_cast<size_t>(shape[0]) == b.inputs[0]->size() &&
               static_cast<size_t>(shape[1]) == b.output.size();
    }
    b.expect(fits,
             "a float32 row vector of n elements and a float32 matrix [n, m], for a result "
             "of m elements");
    return &kernels::matmul;
}

Kernel bind_reduce(Binding &b) {
    b.expect(b.is({ElementType::float32}, ElementType::float32) && b.output.size() == 1,
             "one float32 tensor, for a result of one element");
    return b.op == "ReduceSum" ? &kernels::reduce_sum : &kernels::reduce_max;
}

struct FlatRow {
    const char *name;
    Kernel (*bind)(Binding &);
};

constexpr std::array kFlatRows = {
    FlatRow{"Identity", bind_copy},    FlatRow{"Reshape", bind_copy},
    FlatRow{"Concat", bind_concat},    FlatRow{"Gather", bind_gather},
    FlatRow{"Cast", bind_cast},        FlatRow{"MatMul", bind_matmul},
    FlatRow{"ReduceSum", bind_reduce}, FlatRow{"ReduceMax", bind_reduce},
};

Kernel bind(Binding &b) {
    if (const Kernel kernel = bind_elementwise(b)) return kernel;
    for (const FlatRow &row : kFlatRows) {
        if (b.op == row.name) return row.bind(b);
    }
    std::string known;
    for (const std::string &name : Node::operators()) known += (known.empty() ? "" : ", ") + name;
    throw std::invalid_argument("node '" + b.output.name() + "': the core has no operator '" +
                                b.op + "'; it has: " + known);
}

}  // namespace

Node::Node(const std::string &op, const std::vector<const Tensor *> &inputs, const Tensor &output)
    : output_{output.data(), output.size()} {
    for (const Tensor *t : inputs) inputs_.push_back({t->data(), t->size()});
    Binding binding{op, inputs, output, inputs_};
    kernel_ = bind(binding);
}

std::vector<std::string> Node::operators() {
    std::set<std::string> names;
    for (const ElementwiseRow &row : elementwise_rows()) names.insert(row.name);
    for (const FlatRow &row : kFlatRows) names.insert(row.name);
    return {names.begin(), names.end()};
}

}  // namespace rtloop
