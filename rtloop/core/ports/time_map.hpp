// Maps the clock of a microcontroller to CLOCK_MONOTONIC.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace rtloop {

// Four-timestamp exchanges through a lowest-round-trip filter (NTP's clock filter, RFC 5905 §10),
// where a sample's error bound grows with its age by the drift that two crystals may have. The
// offset in use moves towards the best sample at a bounded rate: a time inside one cycle never
// steps.
class TimeMap {
  public:
    // From a handshake: offset_ns = device clock - host clock, known to ±error_ns at host time
    // now_ns.
    TimeMap(int64_t offset_ns, int64_t error_ns, int64_t now_ns) noexcept
        : offset_ns_(offset_ns), updated_ns_(now_ns) {
        add({offset_ns, error_ns, now_ns});
    }

    // t1, t4: host clock at send and receive; t2, t3: device clock at receive and send. ns.
    void exchange(int64_t t1, int64_t t2, int64_t t3, int64_t t4) noexcept {
        const int64_t round_trip = (t4 - t1) - (t3 - t2);
        if (round_trip < 0) return;  // not of this exchange
        add({((t2 - t1) + (t3 - t4)) / 2, round_trip / 2, t4});
    }
    // Call once a cycle.
    void advance(int64_t now_ns) noexcept {
        const Sample &best = *std::min_element(
            samples_.begin(), samples_.begin() + static_cast<std::ptrdiff_t>(count_),
            [now_ns](const Sample &a, const Sample &b) {
                return a.bound(now_ns) < b.bound(now_ns);
            });
        const int64_t most = (now_ns - updated_ns_) / 1'000'000 * kSlewPpm;
        offset_ns_ += std::clamp(best.offset_ns - offset_ns_, -most, most);
        if (most > 0) updated_ns_ = now_ns;
        error_ns_ = best.bound(now_ns) + std::abs(best.offset_ns - offset_ns_);
    }

    int64_t to_device_us(int64_t host_ns) const noexcept { return (host_ns + offset_ns_) / 1000; }
    // Widens a 32-bit device time, which wraps every 71.6 min, to the one nearest now.
    int64_t to_host_ns(uint32_t device_us, int64_t now_ns) const noexcept {
        const int64_t device_now_us = to_device_us(now_ns);
        const auto behind_us =
            static_cast<int32_t>(device_us - static_cast<uint32_t>(device_now_us));
        return (device_now_us + behind_us) * 1000 - offset_ns_;
    }
    int64_t offset_ns() const noexcept { return offset_ns_; }
    int64_t error_ns() const noexcept { return error_ns_; }

  private:
    static constexpr int64_t kDriftPpm = 100;  // two crystals of ±50 ppm
    static constexpr int64_t kSlewPpm = 500;
    struct Sample {
        int64_t offset_ns;
        int64_t error_ns;
        int64_t time_ns;
        int64_t bound(int64_t now_ns) const noexcept {
            return error_ns + (now_ns - time_ns) / 1'000'000 * kDriftPpm;
        }
    };
    void add(const Sample &sample) noexcept {
        samples_[next_] = sample;
        next_ = (next_ + 1) % samples_.size();
        count_ = std::min(count_ + 1, samples_.size());
    }

    std::array<Sample, 32> samples_{};
    size_t next_ = 0;
    size_t count_ = 0;
    int64_t offset_ns_;
    int64_t updated_ns_;
    int64_t error_ns_ = 0;
};

}  // namespace rtloop
