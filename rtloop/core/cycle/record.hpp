// The words of DESIGN.md as types: what one cycle was, and the record it leaves.
#pragma once

#include <cstdint>
#include <type_traits>

namespace rtloop {

enum class LoopClass : uint8_t { hard = 0, firm = 1, soft = 2 };

enum class State : uint32_t {
    unconfigured = 0,
    inactive = 1,
    active = 2,
    fault = 3,
    finalized = 4
};

// What was done with the result of a cycle.
enum class Outcome : uint8_t {
    none = 0,
    written = 1,
    written_late = 2,
    held = 3,           // nothing was sent: the previous command stands
    default_value = 4,  // the configured default was sent instead
    safe = 5,           // the safe command was sent instead
};

// The stage that took longest in a missed cycle.
enum class Cause : uint8_t { none = 0, release = 1, read = 2, infer = 3, write = 4 };

enum class FaultReason : uint32_t {
    none = 0,
    deadline_miss = 1,
    limit_broken = 2,
    non_finite = 3,
    port_error = 4,
    stale_input = 5,
    hang = 6,
    infer_error = 7,
    device_safe = 8,  // the microcontroller went to SAFE by itself
};

namespace event {
inline constexpr uint32_t miss = 1;
inline constexpr uint32_t budget_overrun = 2;
inline constexpr uint32_t stale_input = 4;
inline constexpr uint32_t non_finite = 8;
inline constexpr uint32_t clamped = 16;
inline constexpr uint32_t slew_limited = 32;
inline constexpr uint32_t guard = 64;
inline constexpr uint32_t limit_broken = 128;
inline constexpr uint32_t port_error = 256;
inline constexpr uint32_t fault = 512;
inline constexpr uint32_t injected = 1024;
inline constexpr uint32_t unfinished = 2048;
}  // namespace event

// One executed cycle. Times are CLOCK_MONOTONIC nanoseconds. In a ring slot the input and output
// vectors (float32) follow.
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
    uint32_t consecutive_misses;
    uint32_t window_misses;
    uint8_t loop_class;
    uint8_t outcome;
    uint8_t cause;
    uint8_t device_state;
    uint16_t device_reasons;
    uint16_t device_late_commands;
};
static_assert(std::is_trivially_copyable_v<CycleRecord>);
static_assert(sizeof(CycleRecord) == 96, "the ring and the recording depend on this layout");

}  // namespace rtloop
