// Which port is an input of the loop, which is an output, and all of them.
#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "rtloop/core/cycle/loop_config.hpp"
#include "rtloop/core/ports/port.hpp"

namespace rtloop {

// How much of a command left: none of the outputs took their part, some did, or all of them.
enum class Left : uint8_t { nothing, some, all };

struct Wiring {
    // Throws std::invalid_argument when a port is missing or lacks the direction it is used in.
    Wiring(const LoopConfig &config, std::vector<std::shared_ptr<Port>> all)
        : ports(std::move(all)) {
        for (const InputConfig &input : config.inputs) {
            inputs.push_back(&at(input.port));
            if (inputs.back()->n_inputs() == 0) {
                throw std::invalid_argument("port " + std::to_string(input.port) +
                                            " has no samples, and is an input");
            }
        }
        for (const OutputConfig &output : config.outputs) {
            outputs.push_back(&at(output.port));
            if (outputs.back()->n_outputs() == 0) {
                throw std::invalid_argument("port " + std::to_string(output.port) +
                                            " takes no commands, and is an output");
            }
            relays.push_back(output.relay);
            if (output.relay != nullptr && output.relay->size() != outputs.back()->n_outputs()) {
                throw std::invalid_argument("the relay of port " + std::to_string(output.port) +
                                            " has another size than its command");
            }
        }
    }
    // Whoever may send: a command of one output. What left, other loops read.
    bool write(size_t output, const float *values, int64_t now_ns,
               int64_t deadline_ns) const noexcept {
        if (!outputs[output]->write(values, now_ns, deadline_ns)) return false;
        if (Relay *relay = relays[output].get()) relay->write(values, now_ns, deadline_ns);
        return true;
    }
    // Likewise, `values` being what was prepared.
    bool write_default(size_t output, const float *values, int64_t now_ns) const noexcept {
        if (!outputs[output]->write_default(now_ns)) return false;
        if (Relay *relay = relays[output].get()) relay->write(values, now_ns, now_ns);
        return true;
    }
    // Loop and guard.
    void write_safe(int64_t now_ns) const noexcept {
        for (Port *output : outputs) output->write_safe();
        for (const auto &relay : relays) {
            if (relay != nullptr) relay->write_safe(now_ns);
        }
    }

    const std::vector<std::shared_ptr<Port>> ports;
    std::vector<Port *> inputs;                  // as in LoopConfig::inputs
    std::vector<Port *> outputs;                 // as in LoopConfig::outputs
    std::vector<std::shared_ptr<Relay>> relays;  // likewise; nullptr where no loop reads it

  private:
    Port &at(size_t index) const {
        if (index >= ports.size() || ports[index] == nullptr) {
            throw std::invalid_argument("there is no port " + std::to_string(index));
        }
        return *ports[index];
    }
};

}  // namespace rtloop
