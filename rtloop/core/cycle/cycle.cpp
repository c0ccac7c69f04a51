#include "rtloop/core/cycle/cycle.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

namespace rtloop {

namespace {

// At the clock, while the guard sends: some 50 µs.
constexpr int kLooks = 1000;
// And then, asleep in between.
constexpr int64_t kGuardLookNs = 50'000;

Limits limits_of(const LoopConfig &config, const Wiring &wiring) {
    Limits limits;
    for (size_t i = 0; i < wiring.outputs.size(); ++i) {
        limits.append(config.outputs[i], wiring.outputs[i]->n_outputs(),
                      static_cast<double>(config.period_ns) / kNsPerSecond);
    }
    return limits;
}

}  // namespace

Cycle::Cycle(const LoopConfig &config, const Wiring &wiring, Runner &graph, Gate &gate,
             LoopStatus &status, const StopRequest &stop, Clock &clock)
    : config_(config),
      wiring_(wiring),
      graph_(graph),
      gate_(gate),
      fault_(status),
      stop_(stop),
      clock_(clock),
      miss_limit_(config.max_misses, config.window, config.max_consecutive),
      limits_(limits_of(config, wiring)),
      safe_(config, wiring, limits_) {
    if (config.output_at_deadline &&
        config.deadline_ns + output_lead_ns(config.period_ns, config.deadline_ns) >
            config.period_ns) {
        throw std::invalid_argument(
            "output at the deadline needs a deadline before the end of the period: every other "
            "release would be skipped");
    }
    if (wiring.inputs.size() != graph.n_inputs()) {
        throw std::invalid_argument("the graph takes " + std::to_string(graph.n_inputs()) +
                                    " inputs, the loop has " +
                                    std::to_string(wiring.inputs.size()));
    }
    size_t n_values = 0;
    for (size_t i = 0; i < wiring.inputs.size(); ++i) {
        const size_t n = wiring.inputs[i]->n_inputs();
        if (n != graph.input_size(i)) {
            throw std::invalid_argument("input " + std::to_string(i) + " has " + std::to_string(n) +
                                        " values, the graph takes " +
                                        std::to_string(graph.input_size(i)));
        }
        const size_t n_stand_in = config.inputs[i].stand_in.size();
        if (n_stand_in != 0 && n_stand_in != n) {
            throw std::invalid_argument("input " + std::to_string(i) + " has " + std::to_string(n) +
                                        " values, and " + std::to_string(n_stand_in) +
                                        " that stand in for them");
        }
        n_values += n;
    }
    if (limits_.size() != graph.command_size()) {
        throw std::invalid_argument("the graph commands " + std::to_string(graph.command_size()) +
                                    " values, the outputs take " + std::to_string(limits_.size()));
    }
    // What is answered outside the cycle is a source, too.
    const size_t n_sources = wiring.inputs.size() + (graph.external() != nullptr ? 1 : 0);
    input_records_.assign(n_sources, {-1, 0, 0});
    input_values_.assign(n_values, 0.0F);
    arrived_.assign(wiring.inputs.size(), 0);
    stands_safe_.assign(wiring.outputs.size(), 1);
    command_ = sent_ = limits_.safe();
    if (config.loop_class == LoopClass::firm && config.default_on_miss) {
        const auto &values = limits_.default_command();
        if (std::any_of(values.begin(), values.end(), [](float v) { return std::isnan(v); })) {
            throw std::invalid_argument(
                "on_miss: default needs a default where the safe command holds what was measured");
        }
        stand_in_.emplace(wiring_, limits_);
    }
}

void Cycle::reset() noexcept {
    graph_.reset();
    miss_limit_.reset();
    fault_.reset();
    started_ns_ = -1;
    measure_safe();
    tell_safe();
    for (size_t i = 0; i < wiring_.outputs.size(); ++i) stand_safe(i);
    if (stand_in_) stand_in_->reset();
}

void Cycle::rearm_relays() noexcept {
    measure_safe();
    const float *first = safe_.command().data();
    for (size_t i = 0; i < wiring_.outputs.size(); ++i) {
        if (wiring_.relays[i] != nullptr) wiring_.relays[i]->rearm(first);
        first += wiring_.outputs[i]->n_outputs();
    }
}

// Before the first release: what is there to be held.
void Cycle::measure_safe() noexcept {
    std::fill(input_values_.begin(), input_values_.end(), 0.0F);
    std::fill(arrived_.begin(), arrived_.end(), uint8_t{0});
    safe_.reset();
    if (!safe_.follows()) return;
    float *values = input_values_.data();
    for (size_t i = 0; i < wiring_.inputs.size(); ++i) {
        read_input(i, values);
        values += wiring_.inputs[i]->n_inputs();
    }
    safe_.follow(input_values_.data(), arrived_);
}

// To the loops that read it, which is to count once it is in force.
void Cycle::tell_safe() noexcept {
    size_t at = 0;
    for (size_t i = 0; i < wiring_.outputs.size(); ++i) {
        if (wiring_.relays[i] != nullptr && wiring_.outputs[i]->knows_safe()) {
            wiring_.relays[i]->prepare_safe(safe_.command().data() + at);
        }
        at += wiring_.outputs[i]->n_outputs();
    }
}

void Cycle::prepare(const Release &next) noexcept {
    if (!stand_in_ || stand_in_->is_out() || !safe_.is_known()) return;
    take_default(next.cycle);  // of a cycle that did not see it leave
    stand_in_->prepare(next.cycle, sent_.data(), next.time_ns + config_.deadline_ns);
}

uint32_t Cycle::too_many_lost(const Release &next) const noexcept {
    if (!config_.fault_on_broken_limit) return 0;
    // With more of them the cycle has hung.
    const int64_t most = (config_.deadline_ns + config_.hang_limit_ns) / config_.period_ns + 1;
    const uint32_t n = miss_limit_.breaks_after(next.skipped + static_cast<uint32_t>(most));
    if (n == 0) return 0;
    return n > next.skipped ? n - next.skipped : 1;
}

const CycleRecord &Cycle::run(const Release &release, int64_t woke_ns) noexcept {
    begin(release, woke_ns);
    const bool fresh = read_inputs();
    // Nothing is commanded before it is known what would be safe.
    const bool usable = fresh && safe_.is_known() && infer() && limit();
    send(usable);
    finish();
    return record_;
}

void Cycle::begin(const Release &release, int64_t woke_ns) noexcept {
    record_ = {};
    is_late_ = awaits_first_ = false;
    left_ = Left::nothing;
    record_.cycle = release.cycle;
    record_.release_ns = release.time_ns;
    record_.deadline_ns = release.time_ns + config_.deadline_ns;
    record_.skipped = release.skipped;
    record_.loop_class = static_cast<uint8_t>(config_.loop_class);
    judge_skipped();
    stall(Stage::release);
    record_.start_ns = config_.stalls.empty() ? woke_ns : clock_.now();
    if (config_.budget_ns > 0) record_.cpu_ns = clock_.cpu_ns();
    timed_out_ = release.timed_out;
    if (timed_out_) record_.events |= event::timed_out;
    if (config_.paced_by) follow_pace();
}

// Samples come together now and then: a command may change by no more than the time since the last
// one allows.
void Cycle::follow_pace() noexcept {
    const int64_t since_ns = started_ns_ < 0 ? config_.period_ns : record_.start_ns - started_ns_;
    share_ = static_cast<float>(static_cast<double>(std::min(since_ns, config_.period_ns)) /
                                static_cast<double>(config_.period_ns));
    started_ns_ = record_.start_ns;
}

// The jobs that were never done, before the one that is: where they break the limit, nothing but
// the safe command leaves any more.
void Cycle::judge_skipped() noexcept {
    if (record_.skipped == 0) return;
    if (config_.loop_class == LoopClass::hard) fault_.latch(FaultReason::deadline_miss);
    if (miss_limit_.broken_by_skipped(record_.skipped)) limit_broken();
}

void Cycle::limit_broken() noexcept {
    record_.events |= event::limit_broken;
    if (config_.fault_on_broken_limit) fault_.latch(FaultReason::limit_broken);
}

// False when a stale input forbids to compute.
bool Cycle::read_inputs() noexcept {
    for (const auto &port : wiring_.ports) {
        port->released(record_.release_ns);
        port->poll(record_.start_ns);
    }
    bool usable = true;
    float *values = input_values_.data();
    for (size_t i = 0; i < wiring_.inputs.size(); ++i) {
        const size_t n = wiring_.inputs[i]->n_inputs();
        usable &= judge_input(i, read_input(i, values), values);
        std::memcpy(graph_.input(i), values, n * sizeof(float));
        values += n;
    }
    if (safe_.follows()) follow_measured();
    stall(Stage::read);
    record_.read_ns = record_.infer_ns = clock_.now();  // until something is inferred
    return usable;
}

Sample Cycle::read_input(size_t i, float *values) noexcept {
    const Sample sample = wiring_.inputs[i]->read(values);
    if (sample.time_ns >= 0) arrived_[i] = 1;
    return sample;
}

// Where nothing was commanded yet, or not since its device was lost, what stands follows, too.
void Cycle::follow_measured() noexcept {
    safe_.follow(input_values_.data(), arrived_);
    tell_safe();
    for (size_t i = 0; i < wiring_.outputs.size(); ++i) {
        if (stands_safe_[i] != 0) stand_safe(i);
    }
}

// From there its next command starts.
void Cycle::stand_safe(size_t output) noexcept {
    size_t at = 0;
    for (size_t i = 0; i < output; ++i) at += wiring_.outputs[i]->n_outputs();
    const float *safe = safe_.command().data() + at;
    std::copy_n(safe, wiring_.outputs[output]->n_outputs(), sent_.data() + at);
    stands_safe_[output] = 1;
}

Left Cycle::take_default(int64_t cycle) noexcept {
    return stand_in_->take(cycle, sent_.data(), stands_safe_.data());
}

// False when the sample's age forbids to compute. What stands in for it goes to `values`, as if it
// had been read.
bool Cycle::judge_input(size_t i, const Sample &sample, float *values) noexcept {
    const InputConfig &config = config_.inputs[i];
    const bool arrived = sample.time_ns >= 0;
    // The sample is no older than this, whatever the error of its clock.
    int64_t age_ns = arrived ? record_.start_ns - sample.time_ns + sample.error_ns : -1;
    const bool is_from_the_future = arrived && sample.time_ns - sample.error_ns > clock_.now();
    // Taken since the cycle started: no age. From the future: no age at all, and it shows.
    if (arrived && age_ns < 0) age_ns = is_from_the_future ? std::min<int64_t>(age_ns, -2) : 0;
    const bool is_missing = timed_out_ && i == config_.paced_by;
    const bool is_old = config.max_age_ns > 0 && age_ns > config.max_age_ns;
    const bool stale = !arrived || is_from_the_future || is_missing || is_old;
    input_records_[i] = {age_ns, sample.gap, stale ? event::stale_input : 0};
    if (record_.input_age_ns >= 0) {
        record_.input_age_ns = age_ns >= 0 ? std::max(record_.input_age_ns, age_ns) : age_ns;
    }
    if (!stale) return true;
    record_.events |= event::stale_input;
    if (config.on_stale == OnStale::fault) fault_.latch(FaultReason::stale_input);
    std::copy(config.stand_in.begin(), config.stand_in.end(), values);
    return config.on_stale == OnStale::use && (arrived || !config.stand_in.empty());
}

bool Cycle::infer() noexcept {
    if (float *last = graph_.last_command()) std::copy(sent_.begin(), sent_.end(), last);
    const bool ok = graph_.run(record_.cycle, record_.start_ns);
    is_late_ = ok && graph_.is_late();
    awaits_first_ = ok && !graph_.has_command();
    record_.events |= graph_.events();
    stall(Stage::infer);
    record_.infer_ns = clock_.now();
    if (!ok) fault_.latch(FaultReason::infer_error);
    if (!ok || !graph_.terminates()) return ok && graph_.has_command();
    fault_.latch(FaultReason::terminated);
    return false;
}

bool Cycle::limit() noexcept {
    const uint32_t events = limits_.apply(graph_.command(), sent_.data(), command_.data(), share_);
    record_.events |= events;
    if ((events & event::non_finite) == 0) return true;
    fault_.latch(FaultReason::non_finite);
    return false;
}

// The gate: in time, or the class decides. The gate stays open while a command waits to be sent, so
// that the guard is on duty until it left.
void Cycle::send(bool usable) noexcept {
    overslept_ns_ = 0;
    sending_ns_ = record_.infer_ns;
    is_stopped_ = config_.output_at_deadline && !wait_to_send();
    const bool in_time =
        !is_late_ && clock_.now() <= record_.deadline_ns && gate_.begin_write(record_.cycle);
    // One judge, and it is the judge who sends what replaces a result that was never begun.
    bool judged_here = !in_time && gate_.expire_open(record_.cycle);
    const Outcome outcome = in_time ? send_in_time(usable) : send_late(usable, judged_here);
    record_.outcome = static_cast<uint8_t>(outcome);
    if (outcome == Outcome::written || outcome == Outcome::written_late) graph_.applied();
    if (!missed()) return;

    judged_here |= in_time && gate_.expire_writing(record_.cycle);
    record_.events |= event::miss | (judged_here ? 0 : event::guard);
    record_.longest_stage = static_cast<uint8_t>(is_late_ ? Stage::infer : longest_stage());
    if (config_.loop_class == LoopClass::hard) fault_.latch(FaultReason::deadline_miss);
    if (outcome == Outcome::written) record_.outcome = static_cast<uint8_t>(Outcome::written_late);
}

// Until just before d; at once for a command that is ready later. False as soon as the loop is to
// end: a command that still waits then is not sent.
bool Cycle::wait_to_send() noexcept {
    const int64_t send_ns =
        record_.deadline_ns - output_lead_ns(config_.period_ns, config_.deadline_ns);
    int64_t now_ns = clock_.now();
    if (now_ns >= send_ns) return true;
    while (now_ns < send_ns) {
        if (stop_.is_made()) return false;
        clock_.sleep_until(std::min(send_ns, now_ns + kStopLatencyNs));
        now_ns = clock_.now();
    }
    overslept_ns_ = now_ns - send_ns;
    sending_ns_ = now_ns;
    return true;
}

// Each of these sends what may be sent, and says when the cycle was finished.

Outcome Cycle::send_in_time(bool usable) noexcept {
    const Outcome outcome = write_result(usable, Outcome::written);
    finish_now();
    // The guard may have judged between reading the clock and here: it is right.
    if (!missed() && !gate_.end_write(record_.cycle)) finish_late();
    return outcome;
}

Outcome Cycle::send_late(bool usable, bool judged_here) noexcept {
    const Outcome outcome = replace(usable, judged_here);
    finish_now();
    if (!missed()) finish_late();  // the guard came first
    return outcome;
}

// What the class sends in place of a result in time.
Outcome Cycle::replace(bool usable, bool judged_here) noexcept {
    switch (config_.loop_class) {
        case LoopClass::hard:
            return Outcome::safe;  // by the guard at d; and once more in finish()
        case LoopClass::firm:
            return stand_in_ ? send_default(judged_here) : Outcome::held;
        case LoopClass::soft:
            break;
    }
    return write_result(usable, Outcome::written_late);
}

// At d by the guard, or here by the loop, when it saw first that it is late.
Outcome Cycle::send_default(bool judged_here) noexcept {
    if (!judged_here) {
        stand_in_->leave_to_guard(record_.cycle);
        wait_for_guard();
    } else if (!stand_in_->is_out()) {
        stand_in_->send(record_.cycle, clock_.now());
    }
    if (stand_in_->is_out()) return Outcome::dropped;
    left_ = take_default(record_.cycle);
    return left_ == Left::all ? Outcome::default_value : Outcome::dropped;
}

// On another CPU it may be in the middle of it. Until it is done no other command may leave, and
// the record cannot say what did: so it is waited for, longer than it takes to write only where the
// guard has no CPU. After a period the next cycle finds what left.
void Cycle::wait_for_guard() noexcept {
    for (int i = 0; i < kLooks && stand_in_->is_out(); ++i) static_cast<void>(clock_.now());
    const int64_t end_ns = clock_.now() + config_.period_ns;
    for (int64_t now_ns = clock_.now(); now_ns < end_ns; now_ns = clock_.now()) {
        if (!stand_in_->is_out() || stop_.is_made()) return;
        clock_.sleep_until(now_ns + kGuardLookNs);
    }
}

Outcome Cycle::write_result(bool usable, Outcome written) noexcept {
    // Before there is a first answer nothing was commanded that could be held.
    if (awaits_first_ && !is_late_) return Outcome::none;
    if (!usable || fault_.is_latched()) return Outcome::held;
    if (is_stopped_) return Outcome::none;  // what comes next is the safe command
    left_ = write(command_);
    return left_ == Left::all ? written : Outcome::dropped;
}

void Cycle::finish_now() noexcept {
    stall(Stage::write);
    record_.finish_ns = clock_.now();
}

// Whatever the clock said: the deadline was judged as missed. An answer that is not there yet is
// none before d, and that is what took so long.
void Cycle::finish_late() noexcept {
    record_.finish_ns = std::max(clock_.now(), record_.deadline_ns + 1);
    if (is_late_) record_.infer_ns = record_.finish_ns;
}

// The last source of the record: how old that is which the command rests on.
void Cycle::note_answer() noexcept {
    External *external = graph_.external();
    if (external == nullptr) return;
    const int64_t taken_ns = external->taken_ns();
    const int64_t age_ns = taken_ns < 0 ? -1 : record_.start_ns - taken_ns;
    input_records_.back() = {age_ns, external->take_gap(), 0};
}

void Cycle::finish() noexcept {
    note_answer();
    if (config_.budget_ns > 0) {
        record_.cpu_ns = clock_.cpu_ns() - record_.cpu_ns;
        if (record_.cpu_ns > config_.budget_ns) record_.events |= event::budget_overrun;
    }
    if (!stand_in_ || !stand_in_->is_out()) {
        for (const auto &port : wiring_.ports) port->keep_up(clock_.now());
    }
    check_ports();
    if (miss_limit_.broken_by(missed())) limit_broken();
    if (missed() && !gate_.close(record_.cycle)) limit_broken();  // the guard saw it before
    record_.consecutive_misses = miss_limit_.consecutive();
    record_.window_misses = miss_limit_.in_window();
    if (fault_.is_latched()) end_safe();
}

// The safe command goes out last. The record tells of it as the outcome where the cycle sent
// nothing before; otherwise what it did send, which the plant has had.
void Cycle::end_safe() noexcept {
    record_.events |= event::fault;
    write_safe();
    if (left_ != Left::nothing) return;
    record_.outcome = static_cast<uint8_t>(Outcome::safe);
    size_t at = 0;
    for (const Port *output : wiring_.outputs) {
        for (const size_t end = at + output->n_outputs(); at < end; ++at) {
            sent_[at] = output->knows_safe() ? safe_.command()[at]
                                             : std::numeric_limits<float>::quiet_NaN();
        }
    }
}

// Every port, whatever its directions: one that is only written to can lose its device, too.
void Cycle::check_ports() noexcept {
    uint32_t index = 0;
    for (const auto &port : wiring_.ports) {
        const PortReport report = port->report();
        record_.device_state = std::max(record_.device_state, report.device_state);
        record_.device_reasons |= report.device_reasons;
        record_.device_late_commands += report.device_late_commands;
        if (report.fault != FaultReason::none) {
            fault_.latch_from_port(index, report.fault, report.error);
        }
        if (report.fault == FaultReason::port_error || report.is_lost) {
            record_.events |= event::port_error;
        }
        if (report.is_lost) stand_lost(index);
        ++index;
    }
}

// A device that is lost makes itself safe.
void Cycle::stand_lost(size_t port) noexcept {
    for (size_t i = 0; i < wiring_.outputs.size(); ++i) {
        if (config_.outputs[i].port == port) stand_safe(i);
    }
}

// Where an output did not take its part the previous command stands.
Left Cycle::write(const std::vector<float> &command) noexcept {
    if (stand_in_ && stand_in_->is_out()) return Left::nothing;  // one writer at a time
    size_t n_left = 0;
    size_t at = 0;
    for (size_t i = 0; i < wiring_.outputs.size(); ++i) {
        const size_t n = wiring_.outputs[i]->n_outputs();
        if (wiring_.write(i, command.data() + at, clock_.now(), record_.deadline_ns)) {
            std::memcpy(sent_.data() + at, command.data() + at, n * sizeof(float));
            stands_safe_[i] = 0;
            ++n_left;
        }
        at += n;
    }
    if (n_left == wiring_.outputs.size()) return Left::all;
    return n_left > 0 ? Left::some : Left::nothing;
}

void Cycle::write_safe() noexcept {
    wiring_.write_safe(clock_.now());
}

void Cycle::stall(Stage stage) noexcept {
    for (const Stall &s : config_.stalls) {
        if (s.stage == stage && s.hits(record_.cycle)) {
            record_.events |= event::injected;
            clock_.spend(s.duration_ns);
        }
    }
}

// A wait that is part of the plan is nobody's fault; waking up late from it is what it is at the
// release.
Stage Cycle::longest_stage() const noexcept {
    const std::array<int64_t, 4> stages = {
        std::max(record_.start_ns - record_.release_ns, overslept_ns_),
        record_.read_ns - record_.start_ns, record_.infer_ns - record_.read_ns,
        record_.finish_ns - sending_ns_};
    const auto longest = std::max_element(stages.begin(), stages.end()) - stages.begin();
    return static_cast<Stage>(longest + 1);  // Stage counts from release = 1
}

}  // namespace rtloop
