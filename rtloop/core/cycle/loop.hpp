// A loop without threads: begin, step until false, end – on any clock, by any pacer.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "rtloop/core/cycle/cycle.hpp"
#include "rtloop/core/cycle/guard.hpp"
#include "rtloop/core/cycle/pacer.hpp"
#include "rtloop/core/graph/graph.hpp"
#include "rtloop/core/ports/arrival.hpp"
#include "rtloop/core/ring/ring.hpp"

namespace rtloop {

// One activation. LoopThreads drives it in real time, a test or a simulation step by step.
class Loop : public std::enable_shared_from_this<Loop> {
  public:
    // Everything is allocated here. Throws std::invalid_argument when the parts do not fit
    // together.
    Loop(LoopConfig config, std::vector<std::shared_ptr<Port>> ports, std::shared_ptr<Runner> graph,
         std::shared_ptr<RingWriter> ring, std::shared_ptr<Clock> clock,
         std::unique_ptr<Pacer> pacer);
    // Paced as the configuration says: by a timer on its grid, or by an input.
    Loop(LoopConfig config, std::vector<std::shared_ptr<Port>> ports, std::shared_ptr<Runner> graph,
         std::shared_ptr<RingWriter> ring, std::shared_ptr<Clock> clock);

    // Not real-time, before begin() and while no thread runs the loop. rearm: nothing from before
    // counts any more. missing_input, any number of times after it: polls the ports; the first
    // input without a sample, or, where a stale one is a fault, with a stale one, or, where it is
    // what the safe command holds, with one that is not finite. Nothing when there is none, and
    // when a device is SAFE: the cycle says so.
    void rearm() noexcept;
    std::optional<size_t> missing_input();

    // Real-time, one thread: the first release, then one period at a time – wait for the release,
    // run the cycle, record it, find the next release. step() is false when the loop is to end.
    void begin(int64_t first_release_ns) noexcept;
    bool step() noexcept;
    // The safe command goes out last.
    void end() noexcept;

    // Any thread. step() returns false soon.
    void request_stop() noexcept { stop_.request(); }
    bool is_asked_to_stop() const noexcept { return stop_.is_made(); }
    // Between two activations: a stop that came too late for the one before.
    void withdraw_stop() noexcept { stop_.withdraw(); }
    // Any thread: a cycle does not come back. The safe command goes out without it, and FAULT is
    // latched, so that it sends nothing when it does.
    void abandon() noexcept;

    // Not real-time. Time of `n` cycles outside inference, as measured: from the wake-up to the
    // next sleep, minus the graph.
    std::vector<int64_t> measure_overhead(size_t n);

    // Any thread, once: true for the first who wants to run it in threads. It is one activation.
    bool claim() noexcept { return !is_claimed_.exchange(true); }

    Guard &guard() noexcept { return guard_; }
    // The guard's thread: sleeps until `time_ns`, or until what it watches may have an earlier
    // deadline than when `seen` was asked for, before it looked.
    uint32_t deadlines_seen() const noexcept { return deadlines_.seen(); }
    void rest_guard(uint32_t seen, int64_t time_ns) noexcept;
    Runner &graph() noexcept { return *graph_; }
    Clock &clock() noexcept { return *clock_; }
    const LoopStatus &status() const noexcept { return ring_->status(); }
    const LoopConfig &config() const noexcept { return config_; }

  private:
    void arm() noexcept;
    void settle(int64_t woke_ns) noexcept;
    void count() noexcept;
    void attend_ports() noexcept;
    void record(const CycleRecord &record) noexcept;
    void record_events(uint32_t most) noexcept;

    const LoopConfig config_;
    const Wiring wiring_;
    std::shared_ptr<Runner> graph_;
    std::shared_ptr<RingWriter> ring_;
    std::shared_ptr<Clock> clock_;
    std::unique_ptr<Pacer> pacer_;
    LoopStatus &status_;
    Gate gate_;
    FaultLatch fault_;
    StopRequest stop_;
    Cycle cycle_;
    Guard guard_;
    Release next_;
    Arrival deadlines_;       // of a release that came before it was to come at the latest
    bool is_settled_ = true;  // else it is the latest that the next one may be
    bool is_rearmed_ = false;
    std::atomic<bool> is_claimed_{false};
};

}  // namespace rtloop
