// Several policies, one of which acts: stand, walk, jump. A selector among the loop's inputs says
// which, and a command is blended from what stood before to that of a policy that has taken over.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rtloop/core/graph/graph.hpp"
#include "rtloop/core/graph/runner.hpp"

namespace rtloop {

struct SwitchSpec {
    size_t input = 0;  // the selector: an element of an input of the loop
    size_t element = 0;
    int64_t blend_cycles = 0;  // until a policy that took over has all of the command
    // By policy, which may follow it.
    std::vector<std::vector<size_t>> transitions;
};

// Only the policy that acts runs. Cycles are counted from the one in which it took over, in which
// it starts anew: whatever it knew of an earlier time is forgotten.
class Switch final : public Runner {
  public:
    // Policies with the same inputs and commands of one size; the first acts first. Throws
    // std::invalid_argument.
    Switch(std::vector<std::shared_ptr<Graph>> policies, SwitchSpec spec);

    size_t n_inputs() const noexcept override { return inputs_.size(); }
    float *input(size_t i) noexcept override { return inputs_[i].data(); }
    size_t input_size(size_t i) const noexcept override { return inputs_[i].size(); }
    const float *command() const noexcept override { return command_.data(); }
    size_t command_size() const noexcept override { return command_.size(); }
    float *last_command() noexcept override { return last_command_.data(); }

    bool run(int64_t cycle, int64_t now_ns) noexcept override;
    uint32_t events() const noexcept override;
    bool terminates() const noexcept override { return policy().terminates(); }
    void applied() noexcept override;
    void reset() noexcept override;
    std::string error() const override { return policy().error(); }
    WarmUp warm_up(size_t n, const std::function<bool()> &goes_on) override;
    const std::string &onnxruntime_version() const noexcept override {
        return policy().onnxruntime_version();
    }

    // Any thread. The number of the policy that acts.
    size_t acting() const noexcept { return acting_.load(std::memory_order_relaxed); }

  private:
    Graph &policy() const noexcept { return *policies_[acting()]; }
    void select(int64_t cycle) noexcept;
    void enter(size_t policy, int64_t cycle) noexcept;
    void blend(int64_t cycle) noexcept;

    const std::vector<std::shared_ptr<Graph>> policies_;
    const SwitchSpec spec_;
    bool has_slower_ = false;  // one of them does not run in each cycle
    std::atomic<size_t> acting_{0};
    int64_t entered_ = 0;      // in this cycle
    bool is_entered_ = false;  // not only begun with
    bool has_left_ = false;    // a command since then
    uint32_t events_ = 0;
    std::vector<std::vector<float>> inputs_;
    std::vector<float> last_command_;
    std::vector<float> from_;  // the command that stood when the first one of this policy left
    std::vector<float> command_;
};

}  // namespace rtloop
