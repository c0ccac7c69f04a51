// What a graph is made of. Tensors are named by their index.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "rtloop/core/graph/external.hpp"
#include "rtloop/core/graph/tensor.hpp"

namespace rtloop {

// A step of the graph that the core computes: see node.hpp.
struct NodeSpec {
    std::string op;
    std::vector<size_t> inputs;
    size_t output = 0;
};

// A step that ONNX Runtime computes, with the model's names of its inputs and outputs.
struct ModelSpec {
    std::string model;  // serialised ONNX
    std::vector<std::pair<std::string, size_t>> inputs;
    std::vector<std::pair<std::string, size_t>> outputs;
};

// A step that was compiled ahead of time: see compiled.hpp.
struct CompiledSpec {
    std::string label;   // of the model, for errors
    std::string object;  // the shared object
    std::vector<size_t> inputs;
    std::vector<size_t> outputs;
};

// A step that is answered outside the cycle, both float32: see external.hpp.
struct ExternalSpec {
    std::shared_ptr<External> external;
    size_t input = 0;
    size_t output = 0;
};

using StepSpec = std::variant<NodeSpec, ModelSpec, CompiledSpec, ExternalSpec>;

// State that a run leaves in one tensor and the next finds in another. It follows what was
// observed; or, of_applied, only the runs whose command was applied.
struct FeedbackSpec {
    size_t input = 0;
    size_t output = 0;
    bool of_applied = false;
};

struct GraphSpec {
    std::vector<TensorSpec> tensors;
    // Their bytes; that of a feedback's input is what it starts from (zeros without).
    std::map<size_t, std::string> constants;
    std::vector<StepSpec> steps;  // in the order in which they run
    // The policy runs in every `every`-th cycle, its results stand until it runs again; the steps
    // at these places run in each.
    int64_t every = 1;
    std::vector<size_t> each_cycle;
    // How many cycles after the one in which the policy was due this one is; float32, one element.
    std::optional<size_t> cycles_since_due;
    std::vector<size_t> inputs;  // of the loop; float32
    size_t command = 0;          // float32
    std::vector<FeedbackSpec> feedback;
    // Of float types. Where one is not finite after a run, the command is not a number.
    std::vector<size_t> checked;
    // What the loop sent last; float32, as many elements as the command.
    std::optional<size_t> last_command;
    // bool: where one is true after a run, the loop is to end, whatever was commanded.
    std::optional<size_t> terminations;
};

// State of a single model, by its names; starts at zero.
struct StateSpec {
    std::string input;
    std::string output;
    std::vector<int64_t> shape;
    bool of_applied = false;
};

// A graph of one model and nothing else, all float32.
GraphSpec one_model(std::string model, const std::vector<TensorSpec> &inputs,
                    const TensorSpec &command, const std::vector<StateSpec> &states = {});

// Every tensor has one origin – constant, input, state, step –, and one before it is read. Throws
// std::invalid_argument with the name of the tensor, what was found, what would be right.
void check(const GraphSpec &spec, const std::vector<Tensor> &tensors);

}  // namespace rtloop
