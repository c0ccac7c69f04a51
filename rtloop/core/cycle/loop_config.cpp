#include "rtloop/core/cycle/loop_config.hpp"

#include <stdexcept>

namespace rtloop {

void check(const LoopConfig &config) {
    const auto demand = [](bool holds, const char *what) {
        if (!holds) throw std::invalid_argument(what);
    };
    demand(config.loop_class <= LoopClass::soft, "loop_class is no class");
    demand(config.period_ns > 0, "period_ns must be above 0");
    demand(config.deadline_ns > 0 && config.deadline_ns <= config.period_ns,
           "deadline_ns must be above 0, and at most period_ns");
    demand(config.budget_ns >= 0, "budget_ns must not be negative");
    demand(config.max_catch_up >= 0, "max_catch_up must not be negative");
    demand(config.hang_limit_ns > 0, "hang_limit_ns must be above 0");
    if (config.paced_by) {
        demand(*config.paced_by < config.inputs.size(), "paced_by is no input");
        demand(config.timeout_ns > config.period_ns,
               "timeout_ns of a loop that is paced by an input must be above its period");
        demand(config.on_overrun == Overrun::skip,
               "a loop that is paced by an input goes on with the newest sample: on_overrun: skip");
    }
    for (const InputConfig &input : config.inputs) {
        demand(input.max_age_ns >= 0, "max_age_ns of an input must not be negative");
        demand(input.stand_in.empty() || input.on_stale == OnStale::use,
               "what stands in for a stale sample needs on_stale: use");
    }
}

}  // namespace rtloop
