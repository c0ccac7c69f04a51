#include "rtloop/core/graph/spec.hpp"

#include <algorithm>
#include <set>
#include <stdexcept>

namespace rtloop {

GraphSpec one_model(std::string model, const std::vector<TensorSpec> &inputs,
                    const TensorSpec &command, const std::vector<StateSpec> &states) {
    GraphSpec spec;
    ModelSpec step{std::move(model), {}, {}};
    const auto add = [&spec](auto &side, const TensorSpec &tensor) {
        spec.tensors.push_back(tensor);
        side.emplace_back(tensor.name, spec.tensors.size() - 1);
        return spec.tensors.size() - 1;
    };
    for (const TensorSpec &input : inputs) spec.inputs.push_back(add(step.inputs, input));
    spec.command = add(step.outputs, command);
    for (const StateSpec &state : states) {
        const size_t input = add(step.inputs, {state.input, state.shape});
        const size_t output = state.output == command.name
                                  ? spec.command
                                  : add(step.outputs, {state.output, state.shape});
        spec.feedback.push_back({input, output, state.of_applied});
    }
    spec.steps.emplace_back(std::move(step));
    return spec;
}

namespace {

constexpr const char *kInput = "an input of a step";

class Checker {
  public:
    Checker(const GraphSpec &spec, const std::vector<Tensor> &tensors)
        : spec_(spec), tensors_(tensors), origins_(tensors.size()) {}

    void check() {
        check_rates();
        check_origins();
        for (const StepSpec &step : spec_.steps) {
            std::visit([this](const auto &s) { check_step(s); }, step);
        }
        check_command();
        check_feedback();
        if (spec_.terminations) {
            const Tensor &terminations = read(*spec_.terminations, "the terminations");
            if (terminations.type() != ElementType::boolean) {
                refuse(terminations, "is the terminations", "they are bool");
            }
        }
        for (const size_t t : spec_.checked) {
            const Tensor &checked = read(t, "checked");
            if (!is_float(checked.type())) {
                refuse(checked, "is checked for values that are not finite",
                       "float32, float64 or float16 can be");
            }
        }
    }

  private:
    void check_step(const NodeSpec &node) {
        for (const size_t t : node.inputs) read(t, kInput);
        computed(node.output);
    }
    void check_step(const ModelSpec &model) {
        for (const auto &[name, t] : model.inputs) read(t, kInput);
        for (const auto &[name, t] : model.outputs) computed(t);
    }
    void check_step(const CompiledSpec &model) {
        for (const size_t t : model.inputs) read(t, kInput);
        for (const size_t t : model.outputs) computed(t);
    }
    void check_step(const ExternalSpec &step) {
        if (step.external == nullptr) throw std::invalid_argument("an external step needs one");
        if (has_external_) throw std::invalid_argument("a graph has one external step at most");
        has_external_ = true;
        expect_size(read(step.input, kInput), "what is asked", step.external->question_size());
        computed(step.output);
        expect_size(tensors_[step.output], "the answer", step.external->answer_size());
    }

    static void expect_size(const Tensor &t, const char *role, size_t size) {
        expect_float32(t, role);
        if (t.size() == size) return;
        refuse(t, "is " + std::string(role), "that has " + std::to_string(size) + " elements");
    }

    [[noreturn]] static void refuse(const Tensor &t, const std::string &found,
                                    const std::string &right) {
        throw std::invalid_argument("tensor " + t.words() + " " + found + ": " + right);
    }

    const Tensor &at(size_t t, const char *role) const {
        if (t < tensors_.size()) return tensors_[t];
        throw std::invalid_argument("tensor " + std::to_string(t) + " is " + role +
                                    ", but there are " + std::to_string(tensors_.size()) +
                                    " tensors");
    }

    void arises(size_t t, const char *origin) {
        const Tensor &tensor = at(t, origin);
        if (!origins_[t].empty()) {
            refuse(tensor, "is " + std::string(origin) + " and " + origins_[t],
                   "a tensor has one origin");
        }
        origins_[t] = origin;
    }

    void computed(size_t t) { arises(t, "the output of a step"); }

    const Tensor &read(size_t t, const char *role) const {
        const Tensor &tensor = at(t, role);
        if (origins_[t].empty()) {
            refuse(tensor, "is " + std::string(role) + ", but nothing before that yields it",
                   "it is an input, a constant, a state, or the output of an earlier step");
        }
        return tensor;
    }

    static void expect_float32(const Tensor &t, const char *role) {
        if (t.type() == ElementType::float32) return;
        refuse(t, "is " + std::string(role), "that is float32; a Cast step makes it so");
    }

    void check_rates() {
        if (spec_.every < 1) {
            throw std::invalid_argument("the policy runs in every " + std::to_string(spec_.every) +
                                        "th cycle: 1 or more");
        }
        for (const size_t step : spec_.each_cycle) {
            if (step < spec_.steps.size()) continue;
            throw std::invalid_argument("step " + std::to_string(step) +
                                        " runs in each cycle, but there are " +
                                        std::to_string(spec_.steps.size()) + " steps");
        }
    }

    void check_origins() {
        for (const size_t t : spec_.inputs) {
            arises(t, "an input of the loop");
            expect_float32(tensors_[t], "an input of the loop");
        }
        std::set<std::string> names;
        for (const FeedbackSpec &f : spec_.feedback) {
            arises(f.input, "a state");
            if (!names.insert(tensors_[f.input].name()).second) {
                refuse(tensors_[f.input], "is a state, like another of its name",
                       "states are told apart by their names");
            }
        }
        if (spec_.last_command) {
            arises(*spec_.last_command, "the last command");
            expect_float32(tensors_[*spec_.last_command], "the last command");
        }
        if (spec_.cycles_since_due) {
            const char *role = "the cycles since the policy was due";
            arises(*spec_.cycles_since_due, role);
            const Tensor &cycles = tensors_[*spec_.cycles_since_due];
            expect_float32(cycles, role);
            if (cycles.size() != 1) refuse(cycles, std::string("is ") + role, "that is one number");
        }
        for (const auto &[t, bytes] : spec_.constants) {
            const Tensor &tensor = at(t, "a constant");
            const bool is_initial =
                std::any_of(spec_.feedback.begin(), spec_.feedback.end(),
                            [t = t](const FeedbackSpec &f) { return f.input == t; });
            if (!is_initial) arises(t, "a constant");
            if (bytes.size() != tensor.bytes()) {
                refuse(tensor, "is given " + std::to_string(bytes.size()) + " bytes",
                       "it has " + std::to_string(tensor.bytes()));
            }
        }
    }

    void check_command() {
        const Tensor &command = read(spec_.command, "the command");
        expect_float32(command, "the command");
        if (origins_[spec_.command] != "the output of a step") {
            refuse(command, "is the command and " + origins_[spec_.command],
                   "the command is the output of a step");
        }
        if (!spec_.last_command) return;
        const Tensor &last = tensors_[*spec_.last_command];
        if (last.size() != command.size()) {
            refuse(last, "is the last command", "that is like the command, " + command.words());
        }
    }

    void check_feedback() {
        for (const FeedbackSpec &f : spec_.feedback) {
            const Tensor &input = tensors_[f.input];
            const Tensor &output = read(f.output, "what a state becomes");
            if (origins_[f.output] == "a state") {
                refuse(input, "is a state that becomes the state " + output.words(),
                       "an Identity step between them keeps what the run found");
            }
            if (input.type() != output.type() || input.size() != output.size()) {
                refuse(input, "is a state that becomes " + output.words(),
                       "both have one type and one size");
            }
        }
    }

    const GraphSpec &spec_;
    const std::vector<Tensor> &tensors_;
    std::vector<std::string> origins_;  // by tensor; empty before it has one
    bool has_external_ = false;
};

}  // namespace

void check(const GraphSpec &spec, const std::vector<Tensor> &tensors) {
    Checker(spec, tensors).check();
}

}  // namespace rtloop
