#include "rtloop/core/cycle/loop.hpp"

#include <algorithm>
#include <exception>

#include "rtloop/core/cycle/probe.hpp"

namespace rtloop {

namespace {

// Longest sleep without a look at the stop request.
constexpr int64_t kStopLatencyNs = 50'000'000;
// From the set-up's end to the first release.
constexpr int64_t kLeadNs = 2'000'000;

void relax(std::atomic<int64_t> &counter, int64_t add) noexcept {
    counter.store(counter.load(std::memory_order_relaxed) + add, std::memory_order_relaxed);
}

}  // namespace

Loop::Loop(LoopConfig config, std::vector<std::shared_ptr<InputPort>> inputs,
           std::vector<std::shared_ptr<OutputPort>> outputs, std::shared_ptr<Graph> graph,
           std::shared_ptr<RingWriter> ring, std::shared_ptr<Clock> clock)
    : config_(std::move(config)),
      inputs_(std::move(inputs)),
      outputs_(std::move(outputs)),
      graph_(std::move(graph)),
      ring_(std::move(ring)),
      clock_(std::move(clock)),
      status_(ring_->status()),
      fault_(status_),
      grid_(config_.period_ns, config_.on_overrun, config_.max_catch_up),
      cycle_(config_, inputs_, outputs_, *graph_, gate_, status_, *clock_),
      guard_(config_, gate_, status_, outputs_) {
    if (ring_->layout().n_inputs != cycle_.n_input_values() ||
        ring_->layout().n_outputs != cycle_.n_output_values()) {
        throw std::invalid_argument("the ring's vectors do not fit the loop's");
    }
}

void Loop::begin(int64_t lead_ns) noexcept {
    cycle_.reset();
    next_ = grid_.start(clock_->now() + lead_ns);
    status_.first_release_ns.store(next_.time_ns);
    status_.elapsed_periods.store(0);
    status_.executed.store(0);
    status_.skipped.store(0);
    status_.misses.store(0);
    status_.slipped_ns.store(0);
    status_.expired_cycle.store(-1);
    status_.open_cycle.store(0);
    status_.state.store(static_cast<uint32_t>(State::active), std::memory_order_release);
    gate_.arm(0, next_.time_ns + config_.deadline_ns);
}

// One period: wait for the release, run the cycle, record it, find the next release.
bool Loop::step() noexcept {
    const int64_t woke_ns = wait_until(next_.time_ns);
    if (woke_ns < 0) return false;
    const CycleRecord &record = cycle_.run(next_, woke_ns);
    ring_->append(record, cycle_.input_values(), cycle_.output_values());

    next_ = grid_.after(next_.cycle, clock_->now());
    relax(status_.executed, 1);
    relax(status_.skipped, next_.skipped);
    relax(status_.misses, (record.events & event::miss) != 0 ? 1 : 0);
    status_.elapsed_periods.store(next_.cycle, std::memory_order_relaxed);
    status_.slipped_ns.store(grid_.slipped_ns(), std::memory_order_relaxed);
    status_.open_cycle.store(next_.cycle, std::memory_order_relaxed);
    if (fault_.is_latched()) return false;
    gate_.arm(next_.cycle, next_.time_ns + config_.deadline_ns);
    return true;
}

void Loop::end() noexcept {
    gate_.disarm();
    cycle_.write_safe();
    const State state = fault_.is_latched() ? State::fault : State::inactive;
    status_.state.store(static_cast<uint32_t>(state), std::memory_order_release);
}

// When it woke up; -1 when the loop is to end instead.
int64_t Loop::wait_until(int64_t time_ns) noexcept {
    int64_t now_ns = clock_->now();
    while (!stop_requested_.load(std::memory_order_relaxed) && !fault_.is_latched()) {
        if (now_ns >= time_ns) return now_ns;
        if (time_ns - now_ns > kStopLatencyNs) {
            clock_->sleep_until(now_ns + kStopLatencyNs);
        } else {
            clock_->wake_at(time_ns);
        }
        now_ns = clock_->now();
    }
    return -1;
}

// Hands the two new threads' results back to activate(). Locks are fine: nothing is active yet.
struct Loop::Start {
    std::mutex mutex;
    std::condition_variable changed;
    Activation result;
    int ready = 0;     // threads that are set up
    int decision = 0;  // 1: go, -1: end again
    int left = 0;      // threads that no longer need this object

    int report_and_wait() {
        std::unique_lock lock(mutex);
        ++ready;
        changed.notify_all();
        changed.wait(lock, [this] { return decision != 0; });
        const int decided = decision;
        ++left;
        changed.notify_all();
        return decided;
    }
};

void Loop::run_loop_thread(const ThreadSetup &setup, size_t warm_up_runs, Start &start) {
    std::vector<Right> rights = apply_to_this_thread(setup);
    prefault_stack();
    WarmUp warm_up;
    std::string error;
    try {
        warm_up = graph_->warm_up(warm_up_runs);
    } catch (const std::exception &e) {
        error = e.what();
    }
    {
        std::scoped_lock lock(start.mutex);
        start.result.loop_rights = std::move(rights);
        start.result.warm_up = std::move(warm_up);
        start.result.error = std::move(error);
    }
    if (start.report_and_wait() > 0) {
        begin(kLeadNs);
        if (rtloop_probe_active != nullptr) rtloop_probe_active(1);
        while (step()) {
        }
        if (rtloop_probe_active != nullptr) rtloop_probe_active(0);
        end();
    }
    loop_ended_.store(true, std::memory_order_release);
}

void Loop::run_guard_thread(const ThreadSetup &setup, Start &start) {
    std::vector<Right> rights = apply_to_this_thread(setup);
    prefault_stack();
    {
        std::scoped_lock lock(start.mutex);
        start.result.guard_rights = std::move(rights);
    }
    if (start.report_and_wait() < 0) return;
    if (rtloop_probe_active != nullptr) rtloop_probe_active(1);
    while (!guard_stop_.load(std::memory_order_relaxed)) {
        const int64_t now_ns = clock_->now();
        guard_.fire(now_ns);
        clock_->sleep_until(std::min(guard_.next_look_ns(now_ns), now_ns + kStopLatencyNs));
    }
    if (rtloop_probe_active != nullptr) rtloop_probe_active(0);
}

Activation Loop::activate(const ThreadSetup &loop_thread, const ThreadSetup &guard_thread,
                          size_t warm_up_runs, bool fail_on_denied) {
    if (loop_thread_.joinable()) {
        Activation refused;
        refused.error = "the loop is active already";
        return refused;
    }
    auto start = std::make_shared<Start>();
    auto self = shared_from_this();
    // Here, not in begin(): a stop that is requested while the thread still starts must count.
    stop_requested_.store(false);
    guard_stop_.store(false);
    loop_ended_.store(false);
    loop_thread_ = std::thread([self, start, loop_thread, warm_up_runs] {
        self->run_loop_thread(loop_thread, warm_up_runs, *start);
    });
    guard_thread_ =
        std::thread([self, start, guard_thread] { self->run_guard_thread(guard_thread, *start); });

    std::unique_lock lock(start->mutex);
    start->changed.wait(lock, [&] { return start->ready == 2; });
    const auto granted = [](const Right &right) { return right.granted; };
    const bool denied = !std::ranges::all_of(start->result.loop_rights, granted) ||
                        !std::ranges::all_of(start->result.guard_rights, granted);
    const bool refused = !start->result.error.empty() || (denied && fail_on_denied);
    start->decision = refused ? -1 : 1;
    start->changed.notify_all();
    start->changed.wait(lock, [&] { return start->left == 2; });
    Activation result = std::move(start->result);
    lock.unlock();
    if (refused) {
        loop_thread_.join();
        guard_thread_.join();
        if (result.error.empty()) result.error = "denied";
    }
    return result;
}

bool Loop::deactivate(int64_t timeout_ns) {
    if (!loop_thread_.joinable()) return true;
    stop_requested_.store(true);
    MonotonicClock clock;
    const int64_t give_up_ns = clock.now() + timeout_ns;
    while (!loop_ended_.load(std::memory_order_acquire) && clock.now() < give_up_ns) {
        clock.sleep_until(clock.now() + 500'000);
    }
    const bool returned = loop_ended_.load(std::memory_order_acquire);
    if (returned) {
        loop_thread_.join();
    } else {
        for (const auto &output : outputs_) output->write_safe();
        fault_.latch(FaultReason::hang);
        loop_thread_.detach();  // it holds this object alive, and finds the fault latched
    }
    guard_stop_.store(true);
    guard_thread_.join();
    return returned;
}

std::vector<int64_t> Loop::measure_overhead(size_t n) {
    std::vector<int64_t> overhead_ns(n, 0);
    begin(0);
    for (size_t i = 0; i < n; ++i) {
        const int64_t start_ns = clock_->now();
        const Release release{static_cast<int64_t>(i), start_ns, 0};
        gate_.arm(release.cycle, start_ns + config_.deadline_ns);
        const CycleRecord &record = cycle_.run(release, start_ns);
        ring_->append(record, cycle_.input_values(), cycle_.output_values());
        grid_.after(release.cycle, clock_->now());
        overhead_ns[i] = clock_->now() - start_ns - (record.infer_ns - record.read_ns);
    }
    end();
    return overhead_ns;
}

}  // namespace rtloop
