// The live state of a loop: written by the loop and its guard, read by every observer. It lives in
// the ring.
#pragma once

#include <atomic>
#include <cstdint>

#include "rtloop/core/words.hpp"

namespace rtloop {

struct LoopStatus {
    std::atomic<uint64_t> head;             // records ever written
    std::atomic<uint32_t> state;            // State
    std::atomic<uint32_t> fault_reason;     // FaultReason
    std::atomic<int32_t> fault_errno;       // of a port that failed
    std::atomic<uint32_t> fault_port;       // index of the port a fault came from
    std::atomic<int64_t> first_release_ns;  // r0
    std::atomic<int64_t> elapsed_periods;   // releases that are past, by the clock
    std::atomic<int64_t> executed;
    std::atomic<int64_t> skipped;
    std::atomic<int64_t> misses;
    std::atomic<int64_t> slipped_ns;           // how far `on_overrun: slip` has moved the grid
    std::atomic<int64_t> open_cycle;           // the cycle that is being executed or waited for
    std::atomic<int64_t> expired_cycle;        // last cycle the guard judged; -1 none
    std::atomic<int64_t> expired_deadline_ns;  // and its deadline
    std::atomic<uint32_t> expired_outcome;     // and what was sent in its stead; Outcome
    std::atomic<uint64_t> event_head;          // port events ever written
    std::atomic<int64_t> port_events;          // ever reported, those without room included
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

}  // namespace rtloop
