// The record that one executed cycle leaves.
#pragma once

#include <cstdint>
#include <type_traits>

#include "rtloop/core/words.hpp"

namespace rtloop {

// Times are CLOCK_MONOTONIC nanoseconds. In a ring slot one InputRecord per input follows, then the
// input and output vectors (float32).
struct CycleRecord {
    int64_t cycle;         // k, index on the release grid; gaps are skipped releases
    int64_t release_ns;    // r
    int64_t start_ns;      // s
    int64_t read_ns;       // inputs read
    int64_t infer_ns;      // graph returned
    int64_t finish_ns;     // f: outputs written, or the result discarded
    int64_t deadline_ns;   // d
    int64_t input_age_ns;  // of the oldest input at start; -1: an input never arrived
    int64_t cpu_ns;        // CPU time of the cycle, when a budget is configured
    uint32_t skipped;      // releases skipped right before this one
    uint32_t events;
    uint32_t consecutive_misses;  // jobs lost in a row that end here, skipped ones included
    uint32_t window_misses;       // jobs lost in the window that ends here
    uint8_t loop_class;
    uint8_t outcome;
    uint8_t longest_stage;          // of a missed cycle
    uint8_t device_state;           // of the loop's devices, the furthest along; SAFE is the last
    uint16_t device_reasons;        // why any of them is SAFE
    uint16_t device_late_commands;  // refused by all of them together, modulo 65536
};
static_assert(std::is_trivially_copyable_v<CycleRecord>);
static_assert(sizeof(CycleRecord) == 96, "the ring and the recording depend on this layout");

// One input, as the cycle found it.
struct InputRecord {
    int64_t age_ns;   // at most, at start: the error of its clock included. -1: no sample has ever
                      // arrived; less: it claims to be from the future
    uint32_t gap;     // samples that were sent and never arrived, noticed since the last cycle
    uint32_t events;  // event::stale_input or nothing
};
static_assert(std::is_trivially_copyable_v<InputRecord>);
static_assert(sizeof(InputRecord) == 16, "the ring and the recording depend on this layout");

}  // namespace rtloop
