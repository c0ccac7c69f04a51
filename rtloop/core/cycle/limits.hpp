// The limits between the graph and the outputs: clamp, then slew rate; and the commands that stand
// in.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "rtloop/core/cycle/loop_config.hpp"

namespace rtloop {

class Limits {
  public:
    // Adds the `n` elements of the next output. Throws std::invalid_argument.
    void append(const OutputConfig &config, size_t n, double period_s) {
        constexpr float kUnlimited = std::numeric_limits<float>::infinity();
        fill(min_, config.min, n, -kUnlimited, "min");
        fill(max_, config.max, n, kUnlimited, "max");
        fill(max_step_, config.max_rate_per_s, n, kUnlimited, "max_rate_per_s");
        // The nominal period, also after skipped releases: the stricter reading of a rate limit.
        for (size_t i = size() - n; i < size(); ++i) max_step_[i] *= static_cast<float>(period_s);
        if (config.safe.empty()) throw std::invalid_argument("an output needs a safe command");
        fill(safe_, config.safe, n, 0.0F, "safe");
        const auto &instead = config.default_value.empty() ? config.safe : config.default_value;
        fill(default_, instead, n, 0.0F, "default");
        for (size_t i = size() - n; i < size(); ++i) {
            const size_t element = i - (size() - n);
            const bool held = element < config.hold.size() && config.hold[element] >= 0;
            const auto fits = [&](float value) {
                if (std::isnan(value)) return held;
                return min_[i] <= value && value <= max_[i] && std::isfinite(value);
            };
            // Written so that a NaN is refused, too.
            const bool ordered = min_[i] <= max_[i] && max_step_[i] > 0.0F;
            if (!ordered || !fits(safe_[i]) || !fits(default_[i])) {
                throw std::invalid_argument(
                    "the limits of element " + std::to_string(i) +
                    " are not: min <= safe, default <= max, all finite, max_rate_per_s > 0");
            }
        }
    }

    // From the graph's command `raw` and the command that stands at the outputs to the next one.
    // Returns events; with event::non_finite the command is not to be used. `share`: how much of
    // the period has passed since the one that stands, 1 at most.
    uint32_t apply(const float *raw, const float *standing, float *command,
                   float share = 1.0F) const noexcept {
        uint32_t events = 0;
        for (size_t i = 0; i < size(); ++i) {
            if (!std::isfinite(raw[i])) return events | event::non_finite;
            const float clamped = std::clamp(raw[i], min_[i], max_[i]);
            const float step = max_step_[i] * share;
            const float slewed = std::clamp(clamped, standing[i] - step, standing[i] + step);
            if (clamped != raw[i]) events |= event::clamped;
            if (slewed != clamped) events |= event::slew_limited;
            command[i] = slewed;
        }
        return events;
    }

    // What may be commanded of element `i` and is nearest to `value`.
    float nearest(size_t i, float value) const noexcept {
        return std::clamp(value, min_[i], max_[i]);
    }
    size_t size() const noexcept { return min_.size(); }
    const std::vector<float> &safe() const noexcept { return safe_; }
    const std::vector<float> &default_command() const noexcept { return default_; }

  private:
    static void fill(std::vector<float> &to, const std::vector<float> &values, size_t n, float fill,
                     const char *what) {
        if (!values.empty() && values.size() != n) {
            throw std::invalid_argument(std::string(what) + " has " +
                                        std::to_string(values.size()) +
                                        " elements, the output has " + std::to_string(n));
        }
        for (size_t i = 0; i < n; ++i) to.push_back(values.empty() ? fill : values[i]);
    }

    std::vector<float> min_, max_, max_step_, safe_, default_;
};

}  // namespace rtloop
