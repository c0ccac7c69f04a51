// An ONNX operator, computed here: on vectors this short a node of ONNX Runtime costs more to call
// than to compute.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "rtloop/core/graph/tensor.hpp"

namespace rtloop {

struct Operand {
    void *data;
    size_t size;  // elements
};

using Kernel = void (*)(std::span<const Operand> inputs, const Operand &output) noexcept;

class Node {
  public:
    // Semantics are those of ONNX on tensors [1, n], which are taken as flat; an operand of one
    // element is broadcast. The tensors outlive the node, and the output is none of the inputs.
    // Throws std::invalid_argument: an unknown operator, types or sizes that do not fit.
    Node(const std::string &op, const std::vector<const Tensor *> &inputs, const Tensor &output);

    // Real-time.
    void run() const noexcept { kernel_(inputs_, output_); }

    // The names of all operators, sorted.
    static std::vector<std::string> operators();

  private:
    std::vector<Operand> inputs_;
    Operand output_;
    Kernel kernel_;
};

}  // namespace rtloop
