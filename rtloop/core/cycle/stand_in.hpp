// The default that stands in for a late firm result. Loop and guard may both have to send it; the
// gate says which of them.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "rtloop/core/cycle/limits.hpp"
#include "rtloop/core/cycle/wiring.hpp"

namespace rtloop {

// Wait-free for both threads. The loop prepares it before it arms the gate. Whoever moves the gate
// of that cycle from open to expired sends it, once; then the loop takes the result. Between the
// two the loop writes nothing else: a port has one writer at a time.
class StandIn {
  public:
    StandIn(const Wiring &wiring, const Limits &limits)
        : wiring_(wiring),
          limits_(limits),
          command_(limits.size(), 0.0F),
          left_(wiring.outputs.size(), 0) {}

    // Loop, unless is_out(). From the command that stands at the outputs, by the limits that hold
    // for every command.
    void prepare(int64_t cycle, const float *standing, int64_t deadline_ns) noexcept {
        limits_.apply(limits_.default_command().data(), standing, command_.data());
        const float *values = command_.data();
        for (Port *output : wiring_.outputs) {
            output->prepare_default(values, deadline_ns);
            values += output->n_outputs();
        }
        prepared_cycle_ = cycle;
    }

    // Loop or guard, whoever judged `cycle` before its result was sent. True when all of it left.
    bool send(int64_t cycle, int64_t now_ns) noexcept {
        // Not prepared: the one before was still on its way out. Its result stands in left_.
        bool all_left = prepared_cycle_ == cycle;
        const float *values = command_.data();
        for (size_t i = 0; i < left_.size() && prepared_cycle_ == cycle; ++i) {
            left_[i] = wiring_.write_default(i, values, now_ns) ? 1 : 0;
            all_left &= left_[i] != 0;
            values += wiring_.outputs[i]->n_outputs();
        }
        sent_cycle_.store(cycle, std::memory_order_release);
        return all_left;
    }

    // Loop: the guard judged `cycle`, and sends.
    void leave_to_guard(int64_t cycle) noexcept { guards_cycle_ = cycle; }
    // Loop: the guard is not done with it. It is not the loop's to wait for.
    bool is_out() const noexcept {
        return sent_cycle_.load(std::memory_order_acquire) < guards_cycle_;
    }
    // Loop, unless is_out(): what left goes to `standing`, and its outputs stand safe no more. Says
    // how much of what stands in for `cycle` that is.
    Left take(int64_t cycle, float *standing, uint8_t *stands_safe) noexcept {
        bool all_left = prepared_cycle_ == cycle;
        bool some_left = false;
        size_t at = 0;
        for (size_t i = 0; i < left_.size(); ++i) {
            const size_t n = wiring_.outputs[i]->n_outputs();
            if (left_[i] != 0) {
                std::copy_n(command_.data() + at, n, standing + at);
                stands_safe[i] = 0;
                some_left = prepared_cycle_ == cycle;
            } else {
                all_left = false;
            }
            left_[i] = 0;
            at += n;
        }
        return all_left ? Left::all : some_left ? Left::some : Left::nothing;
    }
    void reset() noexcept {
        prepared_cycle_ = guards_cycle_ = -1;
        std::fill(left_.begin(), left_.end(), uint8_t{0});
        sent_cycle_.store(-1, std::memory_order_release);
    }

  private:
    const Wiring &wiring_;
    const Limits &limits_;
    std::vector<float> command_;
    std::vector<uint8_t> left_;  // by output
    int64_t prepared_cycle_ = -1;
    int64_t guards_cycle_ = -1;  // of the loop alone
    std::atomic<int64_t> sent_cycle_{-1};
};

}  // namespace rtloop
