#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "rtloop/core/bind/convert.hpp"
#include "rtloop/core/graph/graph.hpp"

namespace rtloop {

namespace {

using NamedShape = std::pair<std::string, std::vector<int64_t>>;

using FloatArray = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;

std::vector<size_t> shape_of(const Graph &graph, size_t i) {
    const auto &shape = graph.state_spec(i).shape;
    return {shape.begin(), shape.end()};
}

void set_state(Graph &graph, const std::string &name, const FloatArray &values) {
    std::string known;
    for (size_t i = 0; i < graph.n_states(); ++i) {
        known += (known.empty() ? "" : ", ") + graph.state_spec(i).input;
        if (graph.state_spec(i).input != name) continue;
        const auto state = graph.state(i);
        if (values.size() != state.size()) {
            throw std::invalid_argument("state '" + name + "' has " + std::to_string(state.size()) +
                                        " values, got " + std::to_string(values.size()));
        }
        std::memcpy(state.data(), values.data(), state.size_bytes());
        return;
    }
    throw std::invalid_argument("the graph has no state '" + name +
                                "'; it has: " + (known.empty() ? "none" : known));
}

}  // namespace

void bind_graph(nb::module_ &m) {
    using namespace nb::literals;
    nb::class_<Graph>(m, "Graph")
        .def(
            "__init__",
            [](Graph *self, const std::string &library, nb::bytes model,
               const std::vector<NamedShape> &inputs, const NamedShape &command,
               const std::vector<std::pair<std::string, NamedShape>> &feedback,
               const std::vector<std::string> &of_applied) {
                GraphSpec spec;
                spec.model.assign(model.c_str(), model.size());
                for (const auto &[name, shape] : inputs) spec.inputs.push_back({name, shape});
                spec.command = {command.first, command.second};
                for (const auto &[input, output] : feedback) {
                    const bool applied =
                        std::find(of_applied.begin(), of_applied.end(), input) != of_applied.end();
                    spec.feedback.push_back({input, output.first, output.second, applied});
                }
                new (self) Graph(library, std::move(spec));
            },
            "library"_a, "model"_a, "inputs"_a, "command"_a, "feedback"_a,
            "of_applied"_a = std::vector<std::string>{})
        .def(
            "run",
            [](Graph &graph, const std::vector<FloatVector> &inputs, bool applied) {
                if (inputs.size() != graph.n_inputs()) {
                    throw std::invalid_argument("got " + std::to_string(inputs.size()) +
                                                " inputs, expected " +
                                                std::to_string(graph.n_inputs()));
                }
                for (size_t i = 0; i < inputs.size(); ++i) {
                    check_size(inputs[i], graph.input_size(i));
                    std::memcpy(graph.input(i), inputs[i].data(), inputs[i].size() * sizeof(float));
                }
                if (!graph.run()) {
                    throw std::runtime_error("ONNX Runtime refused to run the graph: " +
                                             graph.error());
                }
                if (applied) graph.applied();
                return to_numpy(
                    std::vector<float>(graph.command(), graph.command() + graph.command_size()));
            },
            "inputs"_a, "applied"_a = true)
        .def("reset", &Graph::reset)
        .def_prop_ro("error", &Graph::error)
        .def("state",
             [](Graph &graph) {
                 nb::dict state;
                 for (size_t i = 0; i < graph.n_states(); ++i) {
                     const auto values = graph.state(i);
                     state[graph.state_spec(i).input.c_str()] = to_numpy(
                         std::vector<float>(values.begin(), values.end()), shape_of(graph, i));
                 }
                 return state;
             })
        .def(
            "set_state",
            [](Graph &graph, const nb::dict &state) {
                for (const auto &[name, values] : state) {
                    set_state(graph, nb::cast<std::string>(name), nb::cast<FloatArray>(values));
                }
            },
            "state"_a)
        .def(
            "warm_up",
            [](Graph &graph, size_t n) {
                WarmUp w = graph.warm_up(n);
                return nb::make_tuple(w.first_ns, to_numpy(std::move(w.run_ns)));
            },
            "n"_a)
        .def_prop_ro("onnxruntime_version", &Graph::onnxruntime_version);
}

}  // namespace rtloop
