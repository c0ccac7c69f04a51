#include "rtloop/core/cycle/cycle.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "rtloop/messages.h"

namespace rtloop {

namespace {

constexpr float kUnlimited = std::numeric_limits<float>::infinity();

void append_or_fill(std::vector<float> &to, const std::vector<float> &values, size_t n, float fill,
                    const char *what) {
    if (!values.empty() && values.size() != n) {
        throw std::invalid_argument(std::string(what) + " has " + std::to_string(values.size()) +
                                    " elements, the output has " + std::to_string(n));
    }
    for (size_t i = 0; i < n; ++i) to.push_back(values.empty() ? fill : values[i]);
}

}  // namespace

Cycle::Cycle(const LoopConfig &config, const std::vector<std::shared_ptr<InputPort>> &inputs,
             const std::vector<std::shared_ptr<OutputPort>> &outputs, Graph &graph, Gate &gate,
             RingStatus &status, Clock &clock)
    : config_(config),
      inputs_(inputs),
      outputs_(outputs),
      graph_(graph),
      gate_(gate),
      fault_(status),
      clock_(clock),
      miss_limit_(config.max_misses, config.window, config.max_consecutive) {
    if (inputs.size() != graph.n_inputs() || inputs.size() != config.inputs.size()) {
        throw std::invalid_argument("the graph takes " + std::to_string(graph.n_inputs()) +
                                    " inputs, the loop has " + std::to_string(inputs.size()));
    }
    size_t n_inputs = 0;
    for (size_t i = 0; i < inputs.size(); ++i) {
        if (inputs[i]->input_size() != graph.input_size(i)) {
            throw std::invalid_argument(
                "input " + std::to_string(i) + " has " + std::to_string(inputs[i]->input_size()) +
                " values, the graph takes " + std::to_string(graph.input_size(i)));
        }
        n_inputs += inputs[i]->input_size();
        if (device_ == nullptr) device_ = dynamic_cast<const DeviceStatus *>(inputs[i].get());
    }
    const auto period_s = static_cast<float>(static_cast<double>(config.period_ns) / kNsPerSecond);
    for (size_t i = 0; i < outputs.size(); ++i) {
        const OutputConfig &c = config.outputs.at(i);
        const size_t n = outputs[i]->output_size();
        append_or_fill(min_, c.min, n, -kUnlimited, "min");
        append_or_fill(max_, c.max, n, kUnlimited, "max");
        append_or_fill(max_step_, c.max_rate_per_s, n, kUnlimited, "max_rate_per_s");
        append_or_fill(safe_, c.safe, n, 0.0F, "safe");
        append_or_fill(default_, c.default_value.empty() ? c.safe : c.default_value, n, 0.0F,
                       "default");
        if (device_ == nullptr) device_ = dynamic_cast<const DeviceStatus *>(outputs[i].get());
    }
    // The nominal period, also after skipped releases: the stricter reading of a rate limit.
    for (float &step : max_step_) step *= period_s;
    if (safe_.size() != graph.command_size()) {
        throw std::invalid_argument("the graph commands " + std::to_string(graph.command_size()) +
                                    " values, the outputs take " + std::to_string(safe_.size()));
    }
    input_values_.assign(n_inputs, 0.0F);
    command_ = sent_ = safe_;
}

void Cycle::reset() noexcept {
    graph_.reset();
    miss_limit_.reset();
    fault_.reset();
    device_was_armed_ = false;
    std::fill(input_values_.begin(), input_values_.end(), 0.0F);
    std::copy(safe_.begin(), safe_.end(), sent_.begin());
    for (const auto &output : outputs_) output->rearm();
}

const CycleRecord &Cycle::run(const Release &release, int64_t woke_ns) noexcept {
    begin(release, woke_ns);
    const bool fresh = read_inputs();
    const bool usable = fresh && infer() && limit();
    send(usable);
    finish();
    return record_;
}

void Cycle::begin(const Release &release, int64_t woke_ns) noexcept {
    record_ = {};
    record_.cycle = release.cycle;
    record_.release_ns = release.time_ns;
    record_.deadline_ns = release.time_ns + config_.deadline_ns;
    record_.skipped = release.skipped;
    record_.loop_class = static_cast<uint8_t>(config_.loop_class);
    stall(Cause::release);
    record_.start_ns = config_.stalls.empty() ? woke_ns : clock_.now();
    if (config_.budget_ns > 0) record_.cpu_ns = clock_.cpu_ns();
}

// False when a stale input forbids to compute.
bool Cycle::read_inputs() noexcept {
    bool usable = true;
    float *values = input_values_.data();
    for (size_t i = 0; i < inputs_.size(); ++i) {
        const size_t n = inputs_[i]->input_size();
        const int64_t sampled_ns = inputs_[i]->read(values, record_.start_ns);
        const InputConfig &c = config_.inputs[i];
        const bool arrived = sampled_ns >= 0;
        const int64_t age_ns = arrived ? std::max<int64_t>(0, record_.start_ns - sampled_ns) : -1;
        if (!arrived || (c.max_age_ns > 0 && age_ns > c.max_age_ns)) {
            record_.events |= event::stale_input;
            if (c.on_stale != OnStale::use || !arrived) usable = false;
            if (c.on_stale == OnStale::fault) fault_.latch(FaultReason::stale_input);
        }
        if (record_.input_age_ns >= 0) {
            record_.input_age_ns = arrived ? std::max(record_.input_age_ns, age_ns) : -1;
        }
        std::memcpy(graph_.input(i), values, n * sizeof(float));
        values += n;
    }
    stall(Cause::read);
    record_.read_ns = clock_.now();
    return usable;
}

bool Cycle::infer() noexcept {
    const bool ok = graph_.run();
    stall(Cause::infer);
    record_.infer_ns = clock_.now();
    if (!ok) fault_.latch(FaultReason::infer_error);
    return ok;
}

bool Cycle::limit() noexcept {
    const float *raw = graph_.command();
    for (size_t i = 0; i < command_.size(); ++i) {
        if (!std::isfinite(raw[i])) {
            record_.events |= event::non_finite;
            fault_.latch(FaultReason::non_finite);
            return false;
        }
        const float clamped = std::clamp(raw[i], min_[i], max_[i]);
        const float slewed = std::clamp(clamped, sent_[i] - max_step_[i], sent_[i] + max_step_[i]);
        if (clamped != raw[i]) record_.events |= event::clamped;
        if (slewed != clamped) record_.events |= event::slew_limited;
        command_[i] = slewed;
    }
    return true;
}

// The gate: in time, or the class decides.
void Cycle::send(bool usable) noexcept {
    if (record_.infer_ns == 0) record_.infer_ns = record_.read_ns;  // nothing was computed
    const bool in_time = clock_.now() <= record_.deadline_ns && gate_.begin_write(record_.cycle);
    const Outcome outcome = in_time ? send_in_time(usable) : send_late(usable);
    if (!in_time || record_.finish_ns == 0) {
        stall(Cause::write);
        record_.finish_ns = clock_.now();
    }
    if (!missed() && !config_.output_at_deadline && !gate_.end_write(record_.cycle)) {
        // The guard judged between reading the clock and here: it is right.
        record_.finish_ns = std::max(clock_.now(), record_.deadline_ns + 1);
    }
    record_.outcome = static_cast<uint8_t>(outcome);
    if (!missed()) return;

    const bool judged_here = gate_.expire(record_.cycle);
    record_.events |= event::miss | (judged_here ? 0 : event::guard);
    record_.cause = static_cast<uint8_t>(longest_stage());
    if (config_.loop_class == LoopClass::hard) fault_.latch(FaultReason::deadline_miss);
    if (outcome == Outcome::written) record_.outcome = static_cast<uint8_t>(Outcome::written_late);
}

Outcome Cycle::send_in_time(bool usable) noexcept {
    if (config_.output_at_deadline) {
        // Ready is finished: the wait for d is part of the plan, not of the response time.
        record_.finish_ns = clock_.now();
        if (missed() || !gate_.end_write(record_.cycle)) {
            record_.finish_ns = std::max(record_.finish_ns, record_.deadline_ns + 1);
            return send_late(usable);
        }
        clock_.sleep_until(record_.deadline_ns);
    }
    if (!usable || fault_.is_latched()) return Outcome::held;
    write(command_);
    return Outcome::written;
}

Outcome Cycle::send_late(bool usable) noexcept {
    switch (config_.loop_class) {
        case LoopClass::hard:
            return Outcome::safe;  // by the guard at d; and once more in finish()
        case LoopClass::firm:
            if (!config_.default_on_miss) return Outcome::held;
            write(default_);
            return Outcome::default_value;
        case LoopClass::soft:
            break;
    }
    if (!usable || fault_.is_latched()) return Outcome::held;
    write(command_);
    return Outcome::written_late;
}

void Cycle::finish() noexcept {
    if (config_.budget_ns > 0) {
        record_.cpu_ns = clock_.cpu_ns() - record_.cpu_ns;
        if (record_.cpu_ns > config_.budget_ns) record_.events |= event::budget_overrun;
    }
    check_ports();
    if (miss_limit_.broken_after(missed())) {
        record_.events |= event::limit_broken;
        if (config_.fault_on_broken_limit) fault_.latch(FaultReason::limit_broken);
    }
    record_.consecutive_misses = miss_limit_.consecutive();
    record_.window_misses = miss_limit_.in_window();
    if (fault_.is_latched()) {
        write_safe();
        record_.events |= event::fault;
        record_.outcome = static_cast<uint8_t>(Outcome::safe);
    }
}

void Cycle::check_ports() noexcept {
    uint32_t port = 0;
    for (const auto &input : inputs_) {
        if (input->input_error() != 0) fault_.latch_port_error(port, input->input_error());
        ++port;
    }
    for (const auto &output : outputs_) {
        if (output->output_error() != 0) fault_.latch_port_error(port, output->output_error());
        ++port;
    }
    if (fault_.reason() == FaultReason::port_error) record_.events |= event::port_error;
    if (device_ == nullptr) return;
    const DeviceReport report = device_->device_report();
    record_.device_state = report.state;
    record_.device_reasons = report.reasons;
    record_.device_late_commands = report.late_commands;
    device_was_armed_ |= report.state == RTL_STATE_ARMED || report.state == RTL_STATE_ACTIVE;
    if (device_was_armed_ && report.state == RTL_STATE_SAFE) fault_.latch(FaultReason::device_safe);
}

void Cycle::write(const std::vector<float> &values) noexcept {
    const float *from = values.data();
    for (const auto &output : outputs_) {
        output->write(from, clock_.now(), record_.deadline_ns);
        from += output->output_size();
    }
    std::copy(values.begin(), values.end(), sent_.begin());
}

void Cycle::write_safe() noexcept {
    for (const auto &output : outputs_) output->write_safe();
    std::copy(safe_.begin(), safe_.end(), sent_.begin());
}

void Cycle::stall(Cause stage) noexcept {
    for (const Stall &s : config_.stalls) {
        if (s.stage == stage && s.hits(record_.cycle)) {
            record_.events |= event::injected;
            clock_.spend(s.duration_ns);
        }
    }
}

Cause Cycle::longest_stage() const noexcept {
    const std::array<int64_t, 4> stages = {
        record_.start_ns - record_.release_ns, record_.read_ns - record_.start_ns,
        record_.infer_ns - record_.read_ns, record_.finish_ns - record_.infer_ns};
    const auto longest = std::max_element(stages.begin(), stages.end()) - stages.begin();
    return static_cast<Cause>(longest + 1);  // Cause counts from release = 1
}

}  // namespace rtloop
