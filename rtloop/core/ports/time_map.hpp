// Maps the clock of a microcontroller to CLOCK_MONOTONIC.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>

namespace rtloop {

// What is known of *offset* = device clock - host clock is an interval that holds it.
//
// - A packet was sent before it arrived: device time at sending - host time at arrival is a lower
//   bound. Every packet of the device tells one.
// - A request was sent before it arrived, too: device time at arrival - host time at sending is an
//   upper bound. Every answer to a request tells one.
//
// So each direction counts by the quickest of all its packets, and one that waited somewhere, be it
// for the next cycle, does no harm. Between two packets the interval grows by what the clocks may
// drift apart: 100 ppm, until their skew is known better. The offset in use is slewed towards the
// middle of the interval at a bounded rate, so that no time steps; its error is the distance to the
// farther end. Both are constant between two calls of advance().
class TimeMap {
  public:
    // From a handshake: offset_ns, known to ±error_ns at host time now_ns.
    TimeMap(int64_t offset_ns, int64_t error_ns, int64_t now_ns) noexcept
        : lower_ns_(offset_ns - error_ns),
          upper_ns_(offset_ns + error_ns),
          widened_ns_(now_ns),
          offset_ns_(offset_ns),
          error_ns_(error_ns),
          advanced_ns_(now_ns),
          anchor_{offset_ns, error_ns, now_ns} {}

    // A packet was sent at `device_us`, the 32 bits of its header, and had arrived at `now_ns`.
    void packet_arrived(uint32_t device_us, int64_t now_ns) noexcept {
        widen(now_ns);
        const int64_t bound_ns = widened_us(device_us, now_ns) * 1000 - now_ns;
        if (bound_ns > upper_ns_) {
            contradict(bound_ns, bound_ns + (upper_ns_ - lower_ns_));
        } else {
            lower_ns_ = std::max(lower_ns_, bound_ns);
        }
    }
    // What was sent at `sent_ns` had arrived at device time `device_us`.
    void request_arrived(int64_t sent_ns, int64_t device_us, int64_t now_ns) noexcept {
        widen(now_ns);
        // The answer may be long on its way, and the clocks drift meanwhile.
        const int64_t drift_ns = scaled(now_ns - sent_ns, skew_ppb_ + skew_error_ppb_) + 1;
        const int64_t bound_ns = device_us * 1000 + kDeviceStepNs - sent_ns + drift_ns;
        if (bound_ns < lower_ns_) {
            contradict(bound_ns - (upper_ns_ - lower_ns_), bound_ns);
        } else {
            upper_ns_ = std::min(upper_ns_, bound_ns);
        }
    }
    // Call once a cycle, after what has arrived.
    void advance(int64_t now_ns) noexcept {
        widen(now_ns);
        const int64_t most_ns = scaled(now_ns - advanced_ns_, kSlewPpb);
        offset_ns_ += std::clamp(middle_ns() - offset_ns_, -most_ns, most_ns);
        if (most_ns > 0) advanced_ns_ = now_ns;
        error_ns_ = std::max(upper_ns_ - offset_ns_, offset_ns_ - lower_ns_);
        if (now_ns - anchor_.time_ns >= kSkewIntervalNs) measure_skew(now_ns);
    }

    int64_t to_device_us(int64_t host_ns) const noexcept { return (host_ns + offset_ns_) / 1000; }
    int64_t to_host_ns(int64_t device_us) const noexcept { return device_us * 1000 - offset_ns_; }
    // The device time that has these lower 32 bits, which wrap every 71.6 min, and is nearest now.
    int64_t widened_us(uint32_t device_us, int64_t now_ns) const noexcept {
        const int64_t device_now_us = to_device_us(now_ns);
        return device_now_us +
               static_cast<int32_t>(device_us - static_cast<uint32_t>(device_now_us));
    }
    int64_t offset_ns() const noexcept { return offset_ns_; }
    // |offset - offset_ns()| is no more than this.
    int64_t error_ns() const noexcept { return error_ns_; }
    // How much faster the device's clock runs, within skew_error_ppb(). 0 until it is measured.
    int64_t skew_ppb() const noexcept { return skew_ppb_; }
    int64_t skew_error_ppb() const noexcept { return skew_error_ppb_; }
    // Packets that cannot be true if the others are: a clock that was set, or beyond all drift.
    uint32_t contradictions() const noexcept { return contradictions_; }

  private:
    static constexpr int64_t kDeviceStepNs = 1000;  // the device tells whole µs that have passed
    static constexpr int64_t kDriftPpb = 100'000;   // two crystals of ±50 ppm
    static constexpr int64_t kWanderPpb = 10'000;   // what temperature does to a measured skew
    static constexpr int64_t kSkewMaxPpb = 1'000'000;
    static constexpr int64_t kSlewPpb = 500'000;
    static constexpr int64_t kSkewIntervalNs = 20'000'000'000;
    struct Anchor {
        int64_t offset_ns;
        int64_t error_ns;
        int64_t time_ns;
    };

    int64_t middle_ns() const noexcept { return lower_ns_ + (upper_ns_ - lower_ns_) / 2; }
    static int64_t scaled(int64_t duration_ns, int64_t ppb) noexcept {
        return duration_ns / 1000 * ppb / 1'000'000;
    }
    void widen(int64_t now_ns) noexcept {
        const int64_t passed_ns = now_ns - widened_ns_;
        if (passed_ns <= 0) return;
        // Rounded to the outside.
        lower_ns_ += scaled(passed_ns, skew_ppb_ - skew_error_ppb_) - 1;
        upper_ns_ += scaled(passed_ns, skew_ppb_ + skew_error_ppb_) + 1;
        widened_ns_ = now_ns;
    }
    // The newest packet is believed, and nothing else is known any more than that the interval was
    // as wide as it was.
    void contradict(int64_t lower_ns, int64_t upper_ns) noexcept {
        lower_ns_ = lower_ns;
        upper_ns_ = upper_ns;
        skew_ppb_ = 0;
        skew_error_ppb_ = kDriftPpb;
        ++contradictions_;
    }
    void measure_skew(int64_t now_ns) noexcept {
        const Anchor next{middle_ns(), (upper_ns_ - lower_ns_) / 2 + 1, now_ns};
        const int64_t passed_ms = (now_ns - anchor_.time_ns) / 1'000'000;
        const int64_t skew_ppb = (next.offset_ns - anchor_.offset_ns) * 1000 / passed_ms;
        const int64_t error_ppb =
            (next.error_ns + anchor_.error_ns) * 1000 / passed_ms + kWanderPpb;
        // Beyond that it is no skew: the clock was set.
        if (error_ppb < kDriftPpb && std::abs(skew_ppb) < kSkewMaxPpb) {
            // One that is measured as none is nearly none: 0 is for what is not known.
            skew_ppb_ = skew_ppb != 0 ? skew_ppb : 1;
            skew_error_ppb_ = error_ppb;
        }
        anchor_ = next;
    }

    int64_t lower_ns_, upper_ns_;  // the interval, at host time widened_ns_
    int64_t widened_ns_;
    int64_t offset_ns_, error_ns_;  // in use
    int64_t advanced_ns_;
    Anchor anchor_;
    int64_t skew_ppb_ = 0;
    int64_t skew_error_ppb_ = kDriftPpb;
    uint32_t contradictions_ = 0;
};

}  // namespace rtloop
