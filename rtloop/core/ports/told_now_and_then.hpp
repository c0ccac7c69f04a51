// A count that goes into the record as a port event: when it changed, once a second at most.
#pragma once

#include <cstdint>

#include "rtloop/core/ports/port_event.hpp"

namespace rtloop {

class ToldNowAndThen {
  public:
    explicit ToldNowAndThen(PortEventKind kind) : kind_(kind) {}

    // Of the loop's thread. What was counted by `now` is no news.
    void start_from(int64_t count) noexcept { told_ = count; }
    void tell(int64_t count, int64_t now_ns, PortEventQueue &events) noexcept {
        if (count == told_ || (told_ns_ >= 0 && now_ns - told_ns_ < kEvery)) return;
        PortEvent event;
        event.kind = kind_;
        event.time_ns = now_ns;
        event.total = static_cast<uint32_t>(count);
        events.add(event);
        told_ = count;
        told_ns_ = now_ns;
    }

  private:
    static constexpr int64_t kEvery = 1'000'000'000;
    PortEventKind kind_;
    int64_t told_ = 0;
    int64_t told_ns_ = -1;
};

}  // namespace rtloop
