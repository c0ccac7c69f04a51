// FAULT is latched: the first reason stays until the loop is activated anew.
#pragma once

#include <cerrno>

#include "rtloop/core/ring/ring.hpp"

namespace rtloop {

// Wait-free, for loop and guard alike. The latch lives in the ring, where every observer sees it.
class FaultLatch {
  public:
    explicit FaultLatch(RingStatus &status) : status_(status) {}

    void latch(FaultReason reason) noexcept {
        uint32_t none = static_cast<uint32_t>(FaultReason::none);
        status_.fault_reason.compare_exchange_strong(none, static_cast<uint32_t>(reason));
        status_.state.store(static_cast<uint32_t>(State::fault), std::memory_order_release);
    }
    void latch_port_error(uint32_t port, int error) noexcept {
        if (is_latched()) return;
        status_.fault_port.store(port, std::memory_order_relaxed);
        status_.fault_errno.store(error, std::memory_order_relaxed);
        latch(FaultReason::port_error);
    }
    FaultReason reason() const noexcept {
        return static_cast<FaultReason>(status_.fault_reason.load(std::memory_order_acquire));
    }
    bool is_latched() const noexcept { return reason() != FaultReason::none; }
    void reset() noexcept {
        status_.fault_errno.store(0);
        status_.fault_reason.store(static_cast<uint32_t>(FaultReason::none));
    }

  private:
    RingStatus &status_;
};

}  // namespace rtloop
