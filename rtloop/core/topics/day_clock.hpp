// Between CLOCK_REALTIME, by which ROS stamps, and CLOCK_MONOTONIC, by which loops run.
#pragma once

#include <cstdint>
#include <ctime>

namespace rtloop {

// As they stand to each other now. NTP moves the one against the other, slowly or in steps: read
// anew for each message.
struct DayClock {
    int64_t offset_ns;  // CLOCK_REALTIME - CLOCK_MONOTONIC
    int64_t error_ns;   // right within this

    static DayClock read() noexcept {
        const int64_t before_ns = now_of(CLOCK_MONOTONIC);
        const int64_t day_ns = now_of(CLOCK_REALTIME);
        const int64_t after_ns = now_of(CLOCK_MONOTONIC);
        const int64_t error_ns = (after_ns - before_ns + 1) / 2;
        return {day_ns - before_ns - error_ns, error_ns};
    }
    static int64_t now_of(clockid_t clock) noexcept {
        timespec now;
        clock_gettime(clock, &now);
        return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
    }

    int64_t to_monotonic(int64_t day_ns) const noexcept { return day_ns - offset_ns; }
};

}  // namespace rtloop
