// One cycle: read, infer, limit, gate, finish. No allocation, lock, log, exception or Python in
// here.
#pragma once

#include <optional>
#include <vector>

#include "rtloop/core/cycle/clock.hpp"
#include "rtloop/core/cycle/fault_latch.hpp"
#include "rtloop/core/cycle/gate.hpp"
#include "rtloop/core/cycle/grid.hpp"
#include "rtloop/core/cycle/limits.hpp"
#include "rtloop/core/cycle/loop_config.hpp"
#include "rtloop/core/cycle/miss_limit.hpp"
#include "rtloop/core/cycle/pacer.hpp"
#include "rtloop/core/cycle/record.hpp"
#include "rtloop/core/cycle/safe.hpp"
#include "rtloop/core/cycle/stand_in.hpp"
#include "rtloop/core/cycle/wiring.hpp"
#include "rtloop/core/graph/runner.hpp"

namespace rtloop {

class Cycle {
  public:
    // Throws std::invalid_argument when sizes do not fit.
    Cycle(const LoopConfig &config, const Wiring &wiring, Runner &graph, Gate &gate,
          LoopStatus &status, const StopRequest &stop, Clock &clock);

    // Before the gate is armed for `next`.
    void prepare(const Release &next) noexcept;
    // What the guard sends at d; nullptr for nothing.
    StandIn *stand_in() noexcept { return stand_in_ ? &*stand_in_ : nullptr; }

    // How many jobs lost in a row, `next` the first, latch FAULT; 0 for any number.
    uint32_t too_many_lost(const Release &next) const noexcept;

    // Executes the cycle of `release`, which the gate is already armed for and the thread woke up
    // for at `woke_ns`. When it returns with the fault latched, the safe command was the last thing
    // sent.
    const CycleRecord &run(const Release &release, int64_t woke_ns) noexcept;

    // A new activation: no history, no previous command. The ports are rearmed already, and have
    // what the safe command follows.
    void reset() noexcept;
    // Before it, on whichever thread, and again once more was measured: what other loops read until
    // there is a command.
    void rearm_relays() noexcept;
    const Safe &safe() const noexcept { return safe_; }
    void write_safe() noexcept;

    const InputRecord *input_records() const noexcept { return input_records_.data(); }
    const float *input_values() const noexcept { return input_values_.data(); }
    const float *output_values() const noexcept { return sent_.data(); }
    size_t n_sources() const noexcept { return input_records_.size(); }
    size_t n_input_values() const noexcept { return input_values_.size(); }
    size_t n_output_values() const noexcept { return sent_.size(); }

  private:
    void begin(const Release &release, int64_t woke_ns) noexcept;
    void follow_pace() noexcept;
    void judge_skipped() noexcept;
    void limit_broken() noexcept;
    bool read_inputs() noexcept;
    Sample read_input(size_t i, float *values) noexcept;
    void follow_measured() noexcept;
    void measure_safe() noexcept;
    void tell_safe() noexcept;
    bool judge_input(size_t i, const Sample &sample, float *values) noexcept;
    bool infer() noexcept;
    bool limit() noexcept;
    void send(bool usable) noexcept;
    void finish() noexcept;

    bool wait_to_send() noexcept;
    Outcome send_in_time(bool usable) noexcept;
    Outcome send_late(bool usable, bool judged_here) noexcept;
    Outcome replace(bool usable, bool judged_here) noexcept;
    Outcome send_default(bool judged_here) noexcept;
    void wait_for_guard() noexcept;
    Outcome write_result(bool usable, Outcome written) noexcept;
    void finish_now() noexcept;
    void finish_late() noexcept;
    void note_answer() noexcept;
    Left write(const std::vector<float> &command) noexcept;
    void end_safe() noexcept;
    void check_ports() noexcept;
    void stand_lost(size_t port) noexcept;
    void stand_safe(size_t output) noexcept;
    Left take_default(int64_t cycle) noexcept;
    void stall(Stage stage) noexcept;
    bool missed() const noexcept { return record_.finish_ns > record_.deadline_ns; }
    Stage longest_stage() const noexcept;

    const LoopConfig &config_;
    const Wiring &wiring_;
    Runner &graph_;
    Gate &gate_;
    FaultLatch fault_;
    const StopRequest &stop_;
    Clock &clock_;
    MissLimit miss_limit_;
    Limits limits_;
    Safe safe_;
    std::optional<StandIn> stand_in_;  // firm loops with a default

    CycleRecord record_{};
    bool timed_out_ = false;     // the release: it came without the sample that paces
    int64_t started_ns_ = -1;    // the cycle before
    float share_ = 1.0F;         // of a period, since then
    bool awaits_first_ = false;  // there is no answer yet, and none is due
    bool is_stopped_ = false;    // while its command waited to be sent
    bool is_late_ = false;       // the answer that this job is to command is not there
    int64_t overslept_ns_ = 0;   // after the wait for the instant to send at
    int64_t sending_ns_ = 0;     // when sending began
    Left left_ = Left::nothing;  // of what this cycle sent, the safe command apart
    std::vector<InputRecord> input_records_;
    std::vector<float> input_values_;
    std::vector<uint8_t> arrived_;      // by input: whether it had a sample
    std::vector<uint8_t> stands_safe_;  // by output: no command left since it was safe
    std::vector<float> command_;        // of this cycle, limited
    std::vector<float> sent_;           // what stands at the outputs
};

}  // namespace rtloop
