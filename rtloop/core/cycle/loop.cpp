#include "rtloop/core/cycle/loop.hpp"

#include <stdexcept>

namespace rtloop {

namespace {

// For counters with one writer: no read-modify-write is needed.
void add(std::atomic<int64_t> &counter, int64_t n) noexcept {
    counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

std::unique_ptr<Pacer> timer(const LoopConfig &config, Clock &clock) {
    return std::make_unique<TimerPacer>(
        clock, Grid(config.period_ns, config.on_overrun, config.max_catch_up));
}

}  // namespace

Loop::Loop(LoopConfig config, std::vector<std::shared_ptr<Port>> ports,
           std::shared_ptr<Graph> graph, std::shared_ptr<RingWriter> ring,
           std::shared_ptr<Clock> clock)
    : Loop(config, std::move(ports), std::move(graph), std::move(ring), clock,
           timer(config, *clock)) {}

Loop::Loop(LoopConfig config, std::vector<std::shared_ptr<Port>> ports,
           std::shared_ptr<Graph> graph, std::shared_ptr<RingWriter> ring,
           std::shared_ptr<Clock> clock, std::unique_ptr<Pacer> pacer)
    : config_(std::move(config)),
      wiring_(config_, std::move(ports)),
      graph_(std::move(graph)),
      ring_(std::move(ring)),
      clock_(std::move(clock)),
      pacer_(std::move(pacer)),
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

void Loop::begin(int64_t first_release_ns) noexcept {
    cycle_.reset();
    guard_.reset();
    next_ = pacer_->start(first_release_ns);
    status_.first_release_ns.store(next_.time_ns);
    status_.elapsed_periods.store(0);
    status_.executed.store(0);
    status_.skipped.store(0);
    status_.misses.store(0);
    status_.slipped_ns.store(0);
    status_.expired_cycle.store(-1);
    status_.open_cycle.store(0);
    status_.state.store(static_cast<uint32_t>(State::active), std::memory_order_release);
    cycle_.prepare(next_);
    gate_.arm(0, next_.time_ns + config_.deadline_ns);
}

bool Loop::step() noexcept {
    const int64_t woke_ns = pacer_->wait(next_, stop_);
    if (woke_ns < 0) return false;
    record(cycle_.run(next_, woke_ns));
    next_ = pacer_->after(next_.cycle, clock_->now());
    add(status_.skipped, next_.skipped);
    status_.elapsed_periods.store(next_.cycle, std::memory_order_relaxed);
    status_.slipped_ns.store(pacer_->slipped_ns(), std::memory_order_relaxed);
    status_.open_cycle.store(next_.cycle, std::memory_order_relaxed);
    if (fault_.is_latched()) return false;
    cycle_.prepare(next_);
    gate_.arm(next_.cycle, next_.time_ns + config_.deadline_ns);
    return true;
}

void Loop::record(const CycleRecord &record) noexcept {
    ring_->append(record, cycle_.input_records(), cycle_.input_values(), cycle_.output_values());
    add(status_.executed, 1);
    add(status_.misses, (record.events & event::miss) != 0 ? 1 : 0);
}

void Loop::end() noexcept {
    gate_.disarm();
    cycle_.write_safe();
    stop_.withdraw();  // it was meant for this activation
    const State state = fault_.is_latched() ? State::fault : State::inactive;
    status_.state.store(static_cast<uint32_t>(state), std::memory_order_release);
}

void Loop::abandon() noexcept {
    wiring_.write_safe();
    fault_.latch(FaultReason::hang);
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
