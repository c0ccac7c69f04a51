// What the core needs to know of a loop. rtloop/config says what is wrong in a file, by line.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "rtloop/core/cycle/grid.hpp"
#include "rtloop/core/ports/relay.hpp"
#include "rtloop/core/words.hpp"

namespace rtloop {

enum class OnStale : uint8_t { hold = 0, fault = 1, use = 2 };

struct InputConfig {
    size_t port = 0;         // index into the loop's ports
    int64_t max_age_ns = 0;  // 0: never stale
    OnStale on_stale = OnStale::hold;
    // With `use`: what is taken in place of a stale sample, and of one that never came, which is
    // not waited for then. Empty: the sample itself.
    std::vector<float> stand_in;
};

// Per element of one output; an empty vector is no limit.
struct OutputConfig {
    size_t port = 0;  // index into the loop's ports
    std::vector<float> min;
    std::vector<float> max;
    std::vector<float> max_rate_per_s;
    std::vector<float> safe;
    std::vector<float> default_value;
    // Which of the values of all inputs, as last measured, is the safe one; -1: the number in
    // `safe`. Where it is held, `safe` may be NaN, and then `default_value` is given or NaN, too.
    std::vector<int64_t> hold;
    std::shared_ptr<Relay> relay;  // where other loops read its commands; nullptr: none does
};

// Fault injection: `duration_ns` are used up in a stage of cycle `first`, and of every `every`-th
// after it.
struct Stall {
    Stage stage = Stage::infer;
    int64_t first = 0;
    int64_t every = 0;
    int64_t duration_ns = 0;
    bool hits(int64_t cycle) const noexcept {
        if (every <= 0) return cycle == first;
        return cycle >= first && (cycle - first) % every == 0;
    }
};

struct LoopConfig {
    std::string name;
    LoopClass loop_class = LoopClass::firm;
    int64_t period_ns = 1'000'000;
    int64_t deadline_ns = 1'000'000;  // relative
    int64_t budget_ns = 0;            // 0: not measured
    uint32_t max_misses = 0;
    uint32_t window = 0;           // 0: no limit
    uint32_t max_consecutive = 0;  // 0: no limit
    bool fault_on_broken_limit = false;
    bool default_on_miss = false;  // firm: send the default instead of holding
    Overrun on_overrun = Overrun::skip;
    int64_t max_catch_up = 0;
    std::optional<size_t> paced_by;   // an index into inputs: released by its samples
    int64_t timeout_ns = 0;           // and so long after the last one without one
    bool output_at_deadline = false;  // deadline_ns leaves output_lead_ns of the period free
    int64_t hang_limit_ns =
        100'000'000;  // a cycle that is later than this is a fault, whatever the class
    std::vector<InputConfig> inputs;    // in the order of the graph's inputs
    std::vector<OutputConfig> outputs;  // the graph's command is dealt out to them in order
    std::vector<Stall> stalls;
};

// With output_at_deadline a command leaves so long before d. A miss is a write that ends after d,
// and nobody wakes up at an exact instant: this is the room for the wake-up and the write. The next
// release needs the same room behind d, for the record of this cycle and its own wake-up.
inline int64_t output_lead_ns(int64_t period_ns, int64_t deadline_ns) noexcept {
    constexpr int64_t kMostNs = 200'000;
    return std::min({period_ns / 10, deadline_ns / 2, kMostNs});
}

// Throws std::invalid_argument for what no loop can be. What fits only certain ports and graphs is
// judged with them.
void check(const LoopConfig &config);

}  // namespace rtloop
