// The safe command as the loop knows it: constants, and what was measured last.
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "rtloop/core/cycle/limits.hpp"
#include "rtloop/core/cycle/loop_config.hpp"
#include "rtloop/core/cycle/wiring.hpp"

namespace rtloop {

// Of the loop alone. What follows a measurement goes to the ports as it is measured, so that guard,
// loop or whoever ends the loop only has to say the word.
class Safe {
  public:
    // Throws std::invalid_argument for a value that is held, and that no input has, or that its
    // port cannot be told.
    Safe(const LoopConfig &config, const Wiring &wiring, const Limits &limits)
        : limits_(limits), command_(limits.safe()), next_(limits.safe()) {
        std::vector<size_t> input_of;
        for (size_t i = 0; i < wiring.inputs.size(); ++i) {
            input_of.insert(input_of.end(), wiring.inputs[i]->n_inputs(), i);
        }
        size_t at = 0;
        for (size_t i = 0; i < wiring.outputs.size(); ++i) {
            const std::vector<int64_t> &hold = config.outputs[i].hold;
            const size_t n = wiring.outputs[i]->n_outputs();
            if (!hold.empty() && hold.size() != n) {
                throw std::invalid_argument("hold has " + std::to_string(hold.size()) +
                                            " elements, the output has " + std::to_string(n));
            }
            Output output{wiring.outputs[i], at, {}};
            for (size_t element = 0; element < hold.size(); ++element) {
                if (hold[element] < 0) continue;
                const auto value = static_cast<size_t>(hold[element]);
                if (value >= input_of.size()) {
                    throw std::invalid_argument("no input has the value " + std::to_string(value) +
                                                " that is to be held");
                }
                output.held.push_back({at + element, value, input_of[value]});
            }
            if (!output.held.empty() && output.port->knows_safe() && !output.port->takes_safe()) {
                throw std::invalid_argument("the port of output " + std::to_string(i) +
                                            " cannot hold what was measured: its safe command is a "
                                            "constant");
            }
            if (!output.held.empty()) outputs_.push_back(std::move(output));
            at += n;
        }
    }

    // A new activation: nothing is measured yet.
    void reset() noexcept {
        command_ = next_ = limits_.safe();  // of one size: nothing is allocated
        find_out();
    }

    // `values` of all inputs were read; `arrived` says by input whether it ever had a sample. An
    // output keeps what it has while one of the values that it would hold is not finite.
    void follow(const float *values, const std::vector<uint8_t> &arrived) noexcept {
        for (const Output &output : outputs_) {
            bool usable = true;
            for (const Held &held : output.held) {
                usable &= arrived[held.input] != 0 && std::isfinite(values[held.value]);
                next_[held.at] = limits_.nearest(held.at, values[held.value]);
            }
            if (!usable || !output.port->prepare_safe(next_.data() + output.at)) continue;
            for (const Held &held : output.held) command_[held.at] = next_[held.at];
        }
        find_out();
    }
    // The input of a value that is to be held and is not finite in `values`, if there is one.
    std::optional<size_t> unmeasured(const float *values) const noexcept {
        for (const Output &output : outputs_) {
            for (const Held &held : output.held) {
                if (!std::isfinite(values[held.value])) return held.input;
            }
        }
        return std::nullopt;
    }
    // Whether any of it is held.
    bool follows() const noexcept { return !outputs_.empty(); }
    // False until all that is to be held was measured: NaN stands there.
    bool is_known() const noexcept { return is_known_; }
    const std::vector<float> &command() const noexcept { return command_; }

  private:
    struct Held {
        size_t at;     // in the command
        size_t value;  // in the values of all inputs
        size_t input;
    };
    struct Output {
        Port *port;
        size_t at;
        std::vector<Held> held;
    };
    void find_out() noexcept {
        is_known_ = true;
        for (const Output &output : outputs_) {
            for (const Held &held : output.held) is_known_ &= !std::isnan(command_[held.at]);
        }
    }

    const Limits &limits_;
    std::vector<Output> outputs_;  // those that hold something
    std::vector<float> command_;   // of all outputs
    std::vector<float> next_;
    bool is_known_ = false;
};

}  // namespace rtloop
