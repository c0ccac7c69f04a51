#include "rtloop/core/cycle/loop.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>
#include <string>

#include "rtloop/core/cycle/input_pacer.hpp"

namespace rtloop {

namespace {

// How often ports are attended to at most, and how long before a release no more.
constexpr int64_t kAttentionIntervalNs = 200'000;
constexpr int64_t kAttentionMarginNs = 1'000'000;
// What a flood of port events may cost a cycle; between far releases there is time for all.
constexpr uint32_t kEventsPerCycle = 8;

// For counters with one writer: no read-modify-write is needed.
void add(std::atomic<int64_t> &counter, int64_t n) noexcept {
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

template <typename Pointer>
Pointer required(Pointer part, const char *what) {
    if (part == nullptr) throw std::invalid_argument(std::string("a loop needs ") + what);
    return part;
}

std::unique_ptr<Pacer> pacer(const LoopConfig &config,
                             const std::vector<std::shared_ptr<Port>> &ports, Clock &clock) {
    if (config.paced_by) {
        check(config);
        const size_t port = config.inputs[*config.paced_by].port;
        if (port >= ports.size() || ports[port] == nullptr || !ports[port]->paces()) {
            throw std::invalid_argument("the port of input " + std::to_string(*config.paced_by) +
                                        " cannot pace a loop");
        }
        return std::make_unique<InputPacer>(clock, *ports[port], config.period_ns,
                                            config.timeout_ns);
    }
    return std::make_unique<TimerPacer>(
        clock, Grid(config.period_ns, config.on_overrun, config.max_catch_up));
}

}  // namespace

Loop::Loop(LoopConfig config, std::vector<std::shared_ptr<Port>> ports,
           std::shared_ptr<Runner> graph, std::shared_ptr<RingWriter> ring,
           std::shared_ptr<Clock> clock)
    : Loop(config, ports, std::move(graph), std::move(ring), clock,
           pacer(config, ports, *required(clock, "a clock"))) {}

Loop::Loop(LoopConfig config, std::vector<std::shared_ptr<Port>> ports,
           std::shared_ptr<Runner> graph, std::shared_ptr<RingWriter> ring,
           std::shared_ptr<Clock> clock, std::unique_ptr<Pacer> pacer)
    : config_((check(config), std::move(config))),
      wiring_(config_, std::move(ports)),
      graph_(required(std::move(graph), "a graph")),
      ring_(required(std::move(ring), "a ring")),
      clock_(required(std::move(clock), "a clock")),
      pacer_(required(std::move(pacer), "a pacer")),
      status_(ring_->status()),
      fault_(status_),
      stop_(status_),
      cycle_(config_, wiring_, *graph_, gate_, status_, stop_, *clock_),
      guard_(config_, wiring_, cycle_.stand_in(), gate_, status_) {
    const RingLayout &layout = ring_->layout();
    if (layout.n_sources != cycle_.n_sources() || layout.n_inputs != cycle_.n_input_values() ||
        layout.n_outputs != cycle_.n_output_values()) {
        throw std::invalid_argument("the ring's vectors do not fit the loop's");
    }
}

void Loop::rearm() noexcept {
    for (const auto &port : wiring_.ports) {
        port->events().clear();
        port->rearm();
    }
    cycle_.rearm_relays();
    is_rearmed_ = true;
}

std::optional<size_t> Loop::missing_input() {
    const int64_t now_ns = clock_->now();
    for (const auto &port : wiring_.ports) {
        port->poll(now_ns);
        const PortReport report = port->report();
        // Silence, for which there is a time limit of its own here.
        if (report.fault == FaultReason::port_error || report.is_lost) {
            port->events().clear();
            port->rearm();
        } else if (report.fault != FaultReason::none) {
            return std::nullopt;
        }
    }
    std::vector<float> all(cycle_.n_input_values());
    float *values = all.data();
    for (size_t i = 0; i < wiring_.inputs.size(); ++i) {
        const InputConfig &config = config_.inputs[i];
        const Sample sample = wiring_.inputs[i]->read(values);
        const size_t n = wiring_.inputs[i]->n_inputs();
        if (sample.time_ns < 0) std::fill_n(values, n, std::numeric_limits<float>::quiet_NaN());
        values += n;
        if (!wiring_.inputs[i]->awaits_first_sample() || !config.stand_in.empty()) continue;
        const bool must_be_fresh = config.on_stale == OnStale::fault && config.max_age_ns > 0;
        if (sample.time_ns < 0) return i;
        if (must_be_fresh && now_ns - sample.time_ns > config.max_age_ns) return i;
    }
    const std::optional<size_t> unmeasured = cycle_.safe().unmeasured(all.data());
    if (!unmeasured) cycle_.rearm_relays();
    return unmeasured;
}

void Loop::begin(int64_t first_release_ns) noexcept {
    if (!is_rearmed_) rearm();
    is_rearmed_ = false;
    cycle_.reset();
    guard_.reset();
    next_ = pacer_->start(first_release_ns);
    is_settled_ = pacer_->knows_next();
    status_.first_release_ns.store(first_release_ns);
    status_.elapsed_periods.store(0);
    status_.executed.store(0);
    status_.skipped.store(0);
    status_.misses.store(0);
    status_.slipped_ns.store(0);
    status_.expired_cycle.store(-1);
    status_.open_cycle.store(0);
    status_.state.store(static_cast<uint32_t>(State::active), std::memory_order_release);
    arm();
}

// The guard watches the next cycle, from here on, also where its release is not known yet: then as
// if it were the latest that it may be. Its deadline, and until when it may run before the releases
// that pass meanwhile break the limit on lost jobs.
void Loop::arm() noexcept {
    cycle_.prepare(next_);
    const int64_t deadline_ns = next_.time_ns + config_.deadline_ns;
    int64_t limit_ns = kNever;
    if (const uint32_t n = cycle_.too_many_lost(next_); n == 1) {
        limit_ns = deadline_ns + 1;
    } else if (n > 1) {
        limit_ns = pacer_->lost_ns(next_, n - 1);
    }
    if (is_settled_) {
        gate_.arm(next_.cycle, deadline_ns, limit_ns);
    } else {
        gate_.arm_waiting(next_.cycle, deadline_ns, limit_ns);
    }
}

bool Loop::step() noexcept {
    attend_ports();
    const int64_t woke_ns = pacer_->wait(next_, stop_);
    if (woke_ns < 0) return false;
    if (!is_settled_) settle(woke_ns);
    record(cycle_.run(next_, woke_ns));
    next_ = pacer_->after(next_.cycle, clock_->now());
    count();
    if (fault_.is_latched()) return false;
    is_settled_ = pacer_->knows_next();
    arm();
    return true;
}

// Which release it was. Where the guard was first, that one which it has judged.
void Loop::settle(int64_t woke_ns) noexcept {
    const bool is_judged = !gate_.stop_waiting(next_.cycle);
    next_ = pacer_->settle(next_, woke_ns, is_judged);
    is_settled_ = true;
    count();
    if (is_judged) return;
    arm();
    deadlines_.tell();
}

void Loop::rest_guard(uint32_t seen, int64_t time_ns) noexcept {
    if (pacer_->knows_next()) {
        clock_->sleep_until(time_ns);
    } else {
        deadlines_.wait(seen, time_ns);
    }
}

void Loop::count() noexcept {
    add(status_.skipped, next_.skipped);
    status_.elapsed_periods.store(next_.cycle, std::memory_order_relaxed);
    status_.slipped_ns.store(pacer_->slipped_ns(), std::memory_order_relaxed);
    status_.open_cycle.store(next_.cycle, std::memory_order_relaxed);
}

// Until the next release is near. A line holds a few kB: what is not taken out of it in time is
// lost or old, and nobody can say any more when it arrived.
void Loop::attend_ports() noexcept {
    while (!stop_.is_made()) {
        const int64_t now_ns = clock_->now();
        int64_t due_ns = next_.time_ns;
        for (const auto &port : wiring_.ports) {
            due_ns = std::min(due_ns, port->attention_ns(now_ns));
        }
        due_ns = std::max(due_ns, now_ns + kAttentionIntervalNs);
        if (due_ns > next_.time_ns - kAttentionMarginNs) return;
        record_events(PortEventQueue::kRoom);
        if (is_settled_) {
            clock_->sleep_until(due_ns);
        } else if (pacer_->rest(due_ns)) {
            return;
        }
        for (const auto &port : wiring_.ports) port->attend(clock_->now());
    }
}

void Loop::record(const CycleRecord &record) noexcept {
    ring_->append(record, cycle_.input_records(), cycle_.input_values(), cycle_.output_values());
    add(status_.executed, 1);
    add(status_.misses, (record.events & event::miss) != 0 ? 1 : 0);
    record_events(kEventsPerCycle);
}

// A number that was given to nobody is an event that found no room.
void Loop::record_events(uint32_t most) noexcept {
    int64_t number = status_.port_events.load(std::memory_order_relaxed);
    uint16_t index = 0;
    for (const auto &port : wiring_.ports) {
        PortEvent event;
        for (uint32_t n = 0; n < most && port->events().take(event); ++n) {
            event.number = number++;
            event.port = index;
            ring_->append_event(event);
        }
        number += port->events().take_dropped();
        ++index;
    }
    status_.port_events.store(number, std::memory_order_release);
}

void Loop::end() noexcept {
    gate_.disarm();
    cycle_.write_safe();
    record_events(PortEventQueue::kRoom);
    stop_.withdraw();  // it was meant for this activation
    const State state = fault_.is_latched() ? State::fault : State::inactive;
    status_.state.store(static_cast<uint32_t>(state), std::memory_order_release);
}

void Loop::abandon() noexcept {
    wiring_.write_safe(clock_->now());
    fault_.latch(FaultReason::hang);
    status_.expired_outcome.store(static_cast<uint32_t>(Outcome::safe));
}

std::vector<int64_t> Loop::measure_overhead(size_t n) {
    std::vector<int64_t> overhead_ns(n, 0);
    begin(clock_->now());
    for (size_t i = 0; i < n; ++i) {
        const int64_t start_ns = clock_->now();
        const Release release{static_cast<int64_t>(i), start_ns, 0};
        cycle_.prepare(release);
        gate_.arm(release.cycle, start_ns + config_.deadline_ns);
        const CycleRecord &cycle = cycle_.run(release, start_ns);
        record(cycle);
        static_cast<void>(pacer_->after(release.cycle, clock_->now()));
        overhead_ns[i] = clock_->now() - start_ns - (cycle.infer_ns - cycle.read_ns);
    }
    end();
    return overhead_ns;
}

}  // namespace rtloop
