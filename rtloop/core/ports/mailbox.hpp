// A port whose far end is another thread of this process, Python included.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>
#include <vector>

#include "rtloop/core/ports/arrival.hpp"
#include "rtloop/core/ports/port.hpp"
#include "rtloop/core/ports/safe_command.hpp"
#include "rtloop/core/ports/triple_buffer.hpp"

namespace rtloop {

// Samples are put in, and the loop takes the newest; commands are left, and the newest is taken
// out. A sample that was overwritten before the loop looked was superseded, not lost: no gap.
class Mailbox final : public Port {
  public:
    // `inputs`: values of a sample, 0 for none. `safe`: the safe command, empty for no commands;
    // NaN where it is not known before prepare_safe().
    Mailbox(size_t inputs, std::vector<float> safe);
    // Options "inputs" (0) and "safe" (none). Throws std::invalid_argument.
    explicit Mailbox(const PortOptions &options);

    size_t n_inputs() const noexcept override { return n_inputs_; }
    size_t n_outputs() const noexcept override { return default_.size(); }
    void rearm() noexcept override;
    bool paces() const noexcept override { return n_inputs_ > 0; }
    Sample await_sample(int64_t until_ns) noexcept override;
    Sample read(float *values) noexcept override;
    bool write(const float *values, int64_t now_ns, int64_t deadline_ns) noexcept override;
    void prepare_default(const float *values, int64_t deadline_ns) noexcept override;
    bool write_default(int64_t now_ns) noexcept override;
    void write_safe() noexcept override;
    bool takes_safe() const noexcept override { return true; }
    bool prepare_safe(const float *values) noexcept override { return safe_.prepare(values); }
    std::vector<std::pair<std::string, int64_t>> counters() const override;
    bool put(const float *values, int64_t time_ns) noexcept override;
    // Before the first command, and once the safe command was sent, the safe command is in force.
    bool newest(float *values, int64_t &time_ns) noexcept override;

  private:
    size_t n_inputs_;
    const std::vector<float> first_;  // before there is a command, or a safe one
    std::vector<float> default_;
    SafeCommand safe_;
    TripleBuffer samples_;
    Arrival arrival_;  // of samples
    TripleBuffer commands_;
    std::atomic<int64_t> safe_since_ns_{-1};
    std::atomic<int64_t> n_commands_{0};  // taken, in all activations
};

}  // namespace rtloop
