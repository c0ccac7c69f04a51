// FAULT is latched: the first reason stays until the loop is activated anew.
#pragma once

#include "rtloop/core/cycle/status.hpp"

namespace rtloop {

// Wait-free, for loop and guard alike.
class FaultLatch {
  public:
    explicit FaultLatch(LoopStatus &status) : status_(status) {}

    void latch(FaultReason reason) noexcept {
        auto none = static_cast<uint32_t>(FaultReason::none);
        status_.fault_reason.compare_exchange_strong(none, static_cast<uint32_t>(reason));
        status_.state.store(static_cast<uint32_t>(State::fault), std::memory_order_release);
    }
    // A fault that a port reported; loop thread only.
    void latch_from_port(uint32_t port, FaultReason reason, int error) noexcept {
        if (is_latched()) return;
        status_.fault_port.store(port, std::memory_order_relaxed);
        status_.fault_errno.store(error, std::memory_order_relaxed);
        latch(reason);
    }
    FaultReason reason() const noexcept {
        return static_cast<FaultReason>(status_.fault_reason.load(std::memory_order_acquire));
    }
    bool is_latched() const noexcept { return reason() != FaultReason::none; }
    void reset() noexcept {
        status_.fault_errno.store(0);
        status_.fault_port.store(0);
        status_.fault_reason.store(static_cast<uint32_t>(FaultReason::none));
    }

  private:
    LoopStatus &status_;
};

}  // namespace rtloop
