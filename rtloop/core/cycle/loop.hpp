// A loop: the cycle, its guard, and the two threads that drive them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "rtloop/core/cycle/cycle.hpp"
#include "rtloop/core/cycle/guard.hpp"
#include "rtloop/core/threads/thread_setup.hpp"
#include "rtloop/core/ring/ring.hpp"

namespace rtloop {

struct Activation {
    std::vector<Right> loop_rights;
    std::vector<Right> guard_rights;
    WarmUp warm_up;
    std::string error;  // empty: the loop is active
};

class Loop : public std::enable_shared_from_this<Loop> {
  public:
    // Everything is allocated here. Throws std::invalid_argument when the parts do not fit
    // together.
    Loop(LoopConfig config, std::vector<std::shared_ptr<InputPort>> inputs,
         std::vector<std::shared_ptr<OutputPort>> outputs, std::shared_ptr<Graph> graph,
         std::shared_ptr<RingWriter> ring, std::shared_ptr<Clock> clock);

    // Starts both threads and returns when they are set up and warm, shortly before the first
    // release. With `fail_on_denied` a denied right ends them again, before anything was sent.
    Activation activate(const ThreadSetup &loop_thread, const ThreadSetup &guard_thread,
                        size_t warm_up_runs, bool fail_on_denied);
    // Ends both threads; the safe command goes out last. False when the cycle did not return within
    // `timeout_ns`: then the safe command was sent from here, and the thread stays behind.
    bool deactivate(int64_t timeout_ns);

    // Driven by the caller, on any clock: begin, step until false, end.
    void begin(int64_t lead_ns) noexcept;
    bool step() noexcept;
    void end() noexcept;

    // Time of `n` cycles outside inference, as measured: from the wake-up to the next sleep, minus
    // the graph.
    std::vector<int64_t> measure_overhead(size_t n);

    Guard &guard() noexcept { return guard_; }
    const RingStatus &status() const noexcept { return ring_->status(); }
    const LoopConfig &config() const noexcept { return config_; }
    const RingWriter &ring() const noexcept { return *ring_; }

  private:
    struct Start;
    void run_loop_thread(const ThreadSetup &setup, size_t warm_up_runs, Start &start);
    void run_guard_thread(const ThreadSetup &setup, Start &start);
    int64_t wait_until(int64_t time_ns) noexcept;

    LoopConfig config_;
    std::vector<std::shared_ptr<InputPort>> inputs_;
    std::vector<std::shared_ptr<OutputPort>> outputs_;
    std::shared_ptr<Graph> graph_;
    std::shared_ptr<RingWriter> ring_;
    std::shared_ptr<Clock> clock_;
    RingStatus &status_;
    Gate gate_;
    FaultLatch fault_;
    Grid grid_;
    Cycle cycle_;
    Guard guard_;
    Release next_;
    std::thread loop_thread_;
    std::thread guard_thread_;
    std::atomic<bool> stop_requested_{false};
    std::atomic<bool> loop_ended_{true};
    std::atomic<bool> guard_stop_{false};
};

}  // namespace rtloop
