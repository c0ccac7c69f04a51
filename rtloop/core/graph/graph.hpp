// Everything between input samples and commands: steps, which are the core's own nodes, compiled
// models and ONNX Runtime's sessions, on tensors that never move.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "rtloop/core/graph/compiled.hpp"
#include "rtloop/core/graph/external.hpp"
#include "rtloop/core/graph/node.hpp"
#include "rtloop/core/graph/runner.hpp"
#include "rtloop/core/graph/session.hpp"
#include "rtloop/core/graph/spec.hpp"
#include "rtloop/core/graph/tensor.hpp"

namespace rtloop {

class Graph final : public Runner {
  public:
    // Throws std::runtime_error with ONNX Runtime's own message, std::invalid_argument where the
    // parts do not fit.
    Graph(const std::string &onnxruntime_library, GraphSpec spec);

    size_t n_inputs() const noexcept override { return inputs_.size(); }
    float *input(size_t i) noexcept override { return inputs_[i]->as<float>(); }
    size_t input_size(size_t i) const noexcept override { return inputs_[i]->size(); }
    const float *command() const noexcept override { return command_->as<float>(); }
    size_t command_size() const noexcept override { return command_->size(); }
    float *last_command() noexcept override {
        return last_command_ ? last_command_->as<float>() : nullptr;
    }

    // What the graph carries from one run to the next (recurrent state, previous action): the
    // feedback values, in the order of the specification. To be read and set while nothing runs; a
    // replay that sets them starts wherever it likes.
    size_t n_states() const noexcept { return states_.size(); }
    const Tensor &state(size_t i) const noexcept { return *states_[i].input; }
    // Any tensor, by its index in the specification. To be read while nothing runs.
    size_t n_tensors() const noexcept { return tensors_.size(); }
    const Tensor &tensor(size_t i) const noexcept { return tensors_[i]; }

    // The policy runs in the first cycle of each period of its own, the steps of each cycle always.
    bool run(int64_t cycle, int64_t now_ns) noexcept override;
    // The next cycle in which the policy is due.
    bool run() noexcept { return run((period_ + 1) * every_, 0); }
    // How many cycles the policy's period has, and whether the policy ran in the last one.
    int64_t every() const noexcept { return every_; }
    bool policy_ran() const noexcept { return policy_ran_; }
    uint32_t events() const noexcept override;
    bool terminates() const noexcept override;
    void applied() noexcept override;
    void reset() noexcept override;
    std::string error() const override;
    External *external() const noexcept override { return external_.get(); }
    const std::shared_ptr<External> &shared_external() const noexcept { return external_; }
    bool is_late() const noexcept override {
        return external_ && policy_ran_ && external_->is_late();
    }
    bool has_command() const noexcept override { return !external_ || external_->has_answer(); }
    WarmUp warm_up(
        size_t n, const std::function<bool()> &goes_on = [] { return true; }) override;
    const std::string &onnxruntime_version() const noexcept override {
        return runtime_.api().version();
    }

  private:
    struct State {
        const Tensor *input;
        const Tensor *output;
        bool of_applied;
        std::string initial;  // bytes; empty for zeros
    };
    struct Outside {
        std::shared_ptr<External> external;
        const float *question;
        float *answer;
    };
    using Step = std::variant<Node, std::unique_ptr<Compiled>, std::unique_ptr<Session>, Outside>;
    struct Timed {
        Step step;
        bool each_cycle;
    };

    Step bind(const NodeSpec &spec) const;
    Step bind(const ModelSpec &spec) const;
    Step bind(const CompiledSpec &spec) const;
    Step bind(const ExternalSpec &spec) const;
    std::vector<const Tensor *> pointers(const std::vector<size_t> &numbers) const;
    bool run_steps(bool with_policy, int64_t now_ns) noexcept;
    void check_finite() noexcept;
    void feed_back(bool of_applied) noexcept;
    void keep_error(const char *message) noexcept;

    Runtime runtime_;
    std::vector<Tensor> tensors_;  // as many as ever: steps point to them
    std::vector<Timed> steps_;
    int64_t every_ = 1;
    int64_t period_ = -1;  // of the policy, in which it ran last; -1: not since the reset
    bool policy_ran_ = false;
    std::shared_ptr<External> external_;
    std::vector<Tensor *> inputs_;
    Tensor *command_ = nullptr;
    Tensor *last_command_ = nullptr;
    Tensor *cycles_since_due_ = nullptr;
    const Tensor *terminations_ = nullptr;
    std::vector<State> states_;
    std::vector<const Tensor *> checked_;
    // Written once, then published by its length: nobody reads what is being written.
    std::array<char, 1024> error_;
    std::atomic<size_t> error_size_{0};
};

}  // namespace rtloop
