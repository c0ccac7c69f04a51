#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "rtloop/core/bind/convert.hpp"
#include "rtloop/core/cycle/clock.hpp"
#include "rtloop/core/graph/graph.hpp"
#include "rtloop/core/graph/switch.hpp"

namespace rtloop {

namespace {

using NamedShape = std::pair<std::string, std::vector<int64_t>>;

// A copy of its own.
nb::object values_of(const Tensor &t) {
    const nb::bytes bytes(t.data(), t.bytes());
    const nb::object flat =
        nb::module_::import_("numpy").attr("frombuffer")(bytes, element_name(t.type()));
    return flat.attr("reshape")(nb::cast(t.shape())).attr("copy")();
}

// The bytes of an array, C order, as elements of `type`.
std::string bytes_of(nb::handle array, ElementType type) {
    const nb::object converted =
        nb::module_::import_("numpy").attr("ascontiguousarray")(array, element_name(type));
    const nb::bytes bytes(nb::object(converted.attr("tobytes")()));
    return {bytes.c_str(), bytes.size()};
}

void set_state(Graph &graph, const std::string &name, nb::handle values) {
    std::string known;
    for (size_t i = 0; i < graph.n_states(); ++i) {
        const Tensor &state = graph.state(i);
        known += (known.empty() ? "" : ", ") + state.name();
        if (state.name() != name) continue;
        const std::string bytes = bytes_of(values, state.type());
        if (bytes.size() != state.bytes()) {
            throw std::invalid_argument("state '" + name + "' has " + std::to_string(state.size()) +
                                        " values, got " +
                                        std::to_string(bytes.size() / element_bytes(state.type())));
        }
        std::memcpy(state.data(), bytes.data(), bytes.size());
        return;
    }
    throw std::invalid_argument("the graph has no state '" + name +
                                "'; it has: " + (known.empty() ? "none" : known));
}

GraphSpec of_one_model(nb::bytes model, const std::vector<NamedShape> &inputs,
                       const NamedShape &command,
                       const std::vector<std::pair<std::string, NamedShape>> &feedback,
                       const std::vector<std::string> &of_applied) {
    std::vector<TensorSpec> tensors;
    for (const auto &[name, shape] : inputs) tensors.push_back({name, shape});
    std::vector<StateSpec> states;
    for (const auto &[input, output] : feedback) {
        const bool applied =
            std::find(of_applied.begin(), of_applied.end(), input) != of_applied.end();
        states.push_back({input, output.first, output.second, applied});
    }
    return one_model({model.c_str(), model.size()}, tensors, {command.first, command.second},
                     states);
}

using NamedTensor = std::tuple<std::string, std::string, std::vector<int64_t>>;

std::shared_ptr<Graph> of_steps(const std::string &library, const std::vector<NamedTensor> &tensors,
                                const nb::dict &constants, std::vector<StepSpec> steps,
                                std::vector<size_t> inputs, size_t command,
                                const std::vector<std::tuple<size_t, size_t, bool>> &feedback,
                                std::vector<size_t> checked, std::optional<size_t> last_command,
                                std::optional<size_t> terminations, int64_t every,
                                std::vector<size_t> each_cycle,
                                std::optional<size_t> cycles_since_due) {
    GraphSpec spec;
    for (const auto &[name, type, shape] : tensors) {
        spec.tensors.push_back({name, shape, element_type(type)});
    }
    for (const auto &[key, array] : constants) {
        const auto index = nb::cast<size_t>(key);
        if (index >= spec.tensors.size()) {
            throw std::invalid_argument("tensor " + std::to_string(index) +
                                        " is a constant, but there are " +
                                        std::to_string(spec.tensors.size()) + " tensors");
        }
        const TensorSpec &tensor = spec.tensors[index];
        const auto found = nb::cast<std::string>(array.attr("dtype").attr("name"));
        if (found != element_name(tensor.type)) {
            throw std::invalid_argument("tensor '" + tensor.name + "' is " +
                                        element_name(tensor.type) + ", its constant is " + found);
        }
        spec.constants[index] = bytes_of(array, tensor.type);
    }
    spec.steps = std::move(steps);
    spec.inputs = std::move(inputs);
    spec.command = command;
    for (const auto &[input, output, applied] : feedback) {
        spec.feedback.push_back({input, output, applied});
    }
    spec.checked = std::move(checked);
    spec.last_command = last_command;
    spec.terminations = terminations;
    spec.every = every;
    spec.each_cycle = std::move(each_cycle);
    spec.cycles_since_due = cycles_since_due;
    return std::make_shared<Graph>(library, std::move(spec));
}

nb::object run(Runner &runner, const std::vector<FloatVector> &inputs, bool applied,
               const std::optional<FloatVector> &last_command, std::optional<int64_t> cycle) {
    if (inputs.size() != runner.n_inputs()) {
        throw std::invalid_argument("got " + std::to_string(inputs.size()) + " inputs, expected " +
                                    std::to_string(runner.n_inputs()));
    }
    for (size_t i = 0; i < inputs.size(); ++i) {
        check_size(inputs[i], runner.input_size(i));
        std::memcpy(runner.input(i), inputs[i].data(), inputs[i].size() * sizeof(float));
    }
    if (last_command) {
        if (runner.last_command() == nullptr) {
            throw std::invalid_argument("the graph does not read the last command");
        }
        check_size(*last_command, runner.command_size());
        std::memcpy(runner.last_command(), last_command->data(),
                    last_command->size() * sizeof(float));
    }
    if (cycle && *cycle < 0) throw std::invalid_argument("cycles are counted from 0");
    auto *graph = dynamic_cast<Graph *>(&runner);
    if (!cycle && graph == nullptr) throw std::invalid_argument("a switch runs in a cycle");
    if (!(cycle ? runner.run(*cycle, 0) : graph->run())) {
        const External *external = runner.external();
        const bool is_outside = external != nullptr && external->error()[0] != '\0';
        throw std::runtime_error((is_outside ? "" : "ONNX Runtime refused to run the graph: ") +
                                 runner.error());
    }
    if (applied) runner.applied();
    return to_numpy(std::vector<float>(runner.command(), runner.command() + runner.command_size()));
}

// A question that was not given out yet, with its times and when its wait ended: whoever waits lets
// go of Python until then.
nb::object next_question(External &external, int64_t timeout_ns) {
    bool found = false;
    int64_t woke_ns = 0;
    {
        nb::gil_scoped_release no_gil;
        found = external.next(timeout_ns);
        woke_ns = MonotonicClock().now();
    }
    if (!found) return nb::none();
    return nb::make_tuple(to_numpy(std::vector<float>(external.values())),
                          external.question().asked_ns, woke_ns);
}

// What Python raises, without its traceback.
template <typename Call>
void in_its_words(const Call &call) {
    try {
        call();
    } catch (const nb::python_error &error) {
        throw std::runtime_error(nb::str(error.value()).c_str());
    }
}

// Both are called by who runs the graph, who holds Python.
void answer_at_once(External &external, const std::optional<nb::callable> &answer,
                    const std::optional<nb::callable> &begin) {
    if (!answer) {
        external.answer_at_once({}, {});
        return;
    }
    const size_t n_question = external.question_size();
    const size_t n_answer = external.answer_size();
    const auto answered = [call = *answer, n_question, n_answer](const float *question, float *to) {
        in_its_words([&] {
            const auto values = nb::cast<FloatVector>(
                call(to_numpy(std::vector<float>(question, question + n_question))));
            check_size(values, n_answer);
            std::copy_n(values.data(), n_answer, to);
        });
    };
    std::function<void()> begun;
    if (begin) begun = [call = *begin] { in_its_words([&] { call(); }); };
    external.answer_at_once(answered, begun);
}

void bind_external(nb::module_ &m) {
    using namespace nb::literals;
    nb::class_<External>(m, "External")
        .def(nb::init<size_t, size_t>(), "question_size"_a, "answer_size"_a)
        .def_prop_ro("question_size", &External::question_size)
        .def_prop_ro("answer_size", &External::answer_size)
        .def("open", &External::open)
        .def("close", &External::close)
        .def("next", &next_question, "timeout_ns"_a = -1)
        .def(
            "answer",
            [](External &external, const FloatVector &values) {
                check_size(values, external.answer_size());
                external.answer(values.data());
            },
            "values"_a)
        .def(
            "fail", [](External &external, const std::string &why) { external.fail(why.c_str()); },
            "why"_a)
        .def_prop_ro("error", &External::error)
        .def("answer_at_once", &answer_at_once, "answer"_a.none(), "begin"_a = nb::none())
        .def("ask", &External::ask, "n"_a, "period_ns"_a, nb::call_guard<nb::gil_scoped_release>());
    nb::class_<ExternalSpec>(m, "ExternalRun")
        .def(nb::init<std::shared_ptr<External>, size_t, size_t>(), "external"_a, "input"_a,
             "output"_a);
}

}  // namespace

void bind_graph(nb::module_ &m) {
    using namespace nb::literals;
    bind_external(m);
    m.attr("OPERATORS") = nb::tuple(nb::cast(Node::operators()));
    nb::class_<NodeSpec>(m, "Node").def(nb::init<std::string, std::vector<size_t>, size_t>(),
                                        "operator"_a, "inputs"_a, "output"_a);
    nb::class_<ModelSpec>(m, "ModelRun")
        .def(
            "__init__",
            [](ModelSpec *self, nb::bytes model, std::vector<std::pair<std::string, size_t>> inputs,
               std::vector<std::pair<std::string, size_t>> outputs) {
                new (self)
                    ModelSpec{{model.c_str(), model.size()}, std::move(inputs), std::move(outputs)};
            },
            "model"_a, "inputs"_a, "outputs"_a);
    nb::class_<CompiledSpec>(m, "CompiledRun")
        .def(
            "__init__",
            [](CompiledSpec *self, std::string label, nb::bytes object, std::vector<size_t> inputs,
               std::vector<size_t> outputs) {
                new (self) CompiledSpec{std::move(label),
                                        {object.c_str(), object.size()},
                                        std::move(inputs),
                                        std::move(outputs)};
            },
            "label"_a, "object"_a, "inputs"_a, "outputs"_a);
    nb::class_<Runner>(m, "Runner")
        .def("run", &run, "inputs"_a, "applied"_a = true, "last_command"_a = nb::none(),
             "cycle"_a = nb::none())
        .def("reset", &Runner::reset)
        .def_prop_ro("error", &Runner::error)
        .def(
            "warm_up",
            [](Runner &runner, size_t n) {
                WarmUp w = runner.warm_up(n, [] { return true; });
                return nb::make_tuple(w.first_ns, to_numpy(std::move(w.run_ns)));
            },
            "n"_a)
        .def_prop_ro("onnxruntime_version", &Runner::onnxruntime_version);
    nb::class_<Switch, Runner>(m, "Switch")
        .def(
            "__init__",
            [](Switch *self, std::vector<std::shared_ptr<Graph>> policies, size_t input,
               size_t element, int64_t blend_cycles, std::vector<std::vector<size_t>> transitions) {
                new (self) Switch(std::move(policies),
                                  {input, element, blend_cycles, std::move(transitions)});
            },
            "policies"_a, "input"_a, "element"_a, "blend_cycles"_a, "transitions"_a)
        .def_prop_ro("acting", &Switch::acting);
    nb::class_<Graph, Runner>(m, "Graph")
        .def(
            "__init__",
            [](Graph *self, const std::string &library, nb::bytes model,
               const std::vector<NamedShape> &inputs, const NamedShape &command,
               const std::vector<std::pair<std::string, NamedShape>> &feedback,
               const std::vector<std::string> &of_applied) {
                new (self)
                    Graph(library, of_one_model(model, inputs, command, feedback, of_applied));
            },
            "library"_a, "model"_a, "inputs"_a, "command"_a, "feedback"_a,
            "of_applied"_a = std::vector<std::string>{})
        .def_static("of_steps", &of_steps, "library"_a, "tensors"_a, "constants"_a, "steps"_a,
                    "inputs"_a, "command"_a, "feedback"_a, "checked"_a, "last_command"_a.none(),
                    "terminations"_a = nb::none(), "every"_a = 1,
                    "each_cycle"_a = std::vector<size_t>{}, "cycles_since_due"_a = nb::none())
        .def_prop_ro("every", &Graph::every)
        .def_prop_ro("policy_ran", &Graph::policy_ran)
        .def_prop_ro("external", &Graph::shared_external)
        .def("state",
             [](const Graph &graph) {
                 nb::dict state;
                 for (size_t i = 0; i < graph.n_states(); ++i) {
                     state[graph.state(i).name().c_str()] = values_of(graph.state(i));
                 }
                 return state;
             })
        .def(
            "set_state",
            [](Graph &graph, const nb::dict &state) {
                for (const auto &[name, values] : state) {
                    set_state(graph, nb::cast<std::string>(name), values);
                }
            },
            "state"_a)
        .def(
            "tensor",
            [](const Graph &graph, size_t index) {
                if (index >= graph.n_tensors()) {
                    throw nb::index_error(
                        ("the graph has " + std::to_string(graph.n_tensors()) + " tensors")
                            .c_str());
                }
                return values_of(graph.tensor(index));
            },
            "index"_a);
}

}  // namespace rtloop
