// What a cycle runs between its inputs and its command: one graph, or a switch between several.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "rtloop/core/graph/external.hpp"

namespace rtloop {

struct WarmUp {
    int64_t first_ns = 0;
    std::vector<int64_t> run_ns;  // after the first
};

class Runner {
  public:
    Runner() = default;
    Runner(const Runner &) = delete;
    Runner &operator=(const Runner &) = delete;
    virtual ~Runner() = default;

    virtual size_t n_inputs() const noexcept = 0;
    virtual float *input(size_t i) noexcept = 0;
    virtual size_t input_size(size_t i) const noexcept = 0;
    virtual const float *command() const noexcept = 0;
    virtual size_t command_size() const noexcept = 0;
    // Where the caller of `run` puts what the loop sent last, `command_size` values; nullptr where
    // nothing reads it.
    virtual float *last_command() noexcept = 0;

    // Real-time. A cycle of the loop, whose numbers grow, with inputs as of `now_ns`. False when
    // ONNX Runtime reported an error, or who answers outside the cycle: `error` has its words.
    virtual bool run(int64_t cycle, int64_t now_ns) noexcept = 0;
    // The step that is answered outside the cycle; nullptr without one. After a run: that answer
    // was due and is not there, the command is of an older one; and whether there is a command at
    // all, which there is not before the first answer.
    virtual External *external() const noexcept { return nullptr; }
    virtual bool is_late() const noexcept { return false; }
    virtual bool has_command() const noexcept { return true; }
    // Real-time, after a run: what the record is to say of it, bits of event.
    virtual uint32_t events() const noexcept = 0;
    // Real-time, after a run: a condition for the loop to end is true.
    virtual bool terminates() const noexcept = 0;
    // Real-time, after a run: its command was applied.
    virtual void applied() noexcept = 0;
    // Back to the initial state, inputs zero.
    virtual void reset() noexcept = 0;

    // Any thread. What ONNX Runtime said against the first run that failed since the last reset,
    // cut to what a buffer of fixed size holds; empty where none failed.
    virtual std::string error() const = 0;
    // `n` runs on zeros, or fewer where `goes_on` says no before that, timed on CLOCK_MONOTONIC;
    // then resets. In the thread that will run it: the allocator's caches are per thread. Of
    // several graphs all are warm then, and the times are those of the slowest.
    virtual WarmUp warm_up(size_t n, const std::function<bool()> &goes_on) = 0;
    virtual const std::string &onnxruntime_version() const noexcept = 0;

    // One thread at a time may use it. False while another one does: perhaps one whose cycle hung.
    bool claim() noexcept { return !is_claimed_.exchange(true, std::memory_order_acquire); }
    void give_back() noexcept { is_claimed_.store(false, std::memory_order_release); }

  private:
    std::atomic<bool> is_claimed_{false};
};

}  // namespace rtloop
