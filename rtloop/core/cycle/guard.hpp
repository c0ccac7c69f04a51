// The guard acts *at* the deadline: a cycle that hangs, or was never started, is a miss at d, not
// whenever it returns.
#pragma once

#include <algorithm>
#include <cstdint>

#include "rtloop/core/cycle/clock.hpp"
#include "rtloop/core/cycle/fault_latch.hpp"
#include "rtloop/core/cycle/gate.hpp"
#include "rtloop/core/cycle/loop_config.hpp"
#include "rtloop/core/cycle/stand_in.hpp"
#include "rtloop/core/cycle/wiring.hpp"

namespace rtloop {

// The decisions, free of threads: a thread one priority above the loop drives them in real time,
// the virtual clock in tests.
class Guard final : public Alarm {
  public:
    // `stand_in`: what to send at d for a firm loop; nullptr for nothing.
    Guard(const LoopConfig &config, const Wiring &wiring, StandIn *stand_in, Gate &gate,
          LoopStatus &status)
        : config_(config),
          wiring_(wiring),
          stand_in_(stand_in),
          gate_(gate),
          status_(status),
          fault_(status) {}

    // Before the first cycle of an activation is armed.
    void reset() noexcept { hung_cycle_ = -1; }

    // When there is something to judge, given that nothing changes until then.
    int64_t due_ns() noexcept override {
        const Gate::Armed armed = gate_.armed();
        switch (armed.phase) {
            case Phase::open:
            case Phase::waiting:
            case Phase::writing:
                return armed.deadline_ns + 1;  // at d itself the cycle is still in time
            case Phase::expired:
                return armed.cycle == hung_cycle_
                           ? armed.limit_ns
                           : std::min(armed.limit_ns, armed.deadline_ns + config_.hang_limit_ns);
            case Phase::done:
                break;
        }
        return kNever;
    }

    void fire(int64_t now_ns) noexcept override {
        const Gate::Armed armed = gate_.armed();
        const int64_t late_ns = now_ns - armed.deadline_ns;
        if (armed.phase == Phase::done || late_ns <= 0) return;
        if (armed.phase != Phase::expired) {
            // What was waiting when it was looked at may be open or written now, for another
            // deadline.
            const bool waited = armed.phase == Phase::waiting;
            const bool is_expired =
                waited ? gate_.expire_waiting(armed.cycle) : gate_.expire_open(armed.cycle);
            if (is_expired) {
                judge_miss(armed, now_ns);
                if (stand_in_ != nullptr) {
                    const bool left = stand_in_->send(armed.cycle, now_ns);
                    note(left ? Outcome::default_value : Outcome::dropped);
                }
            } else if (!waited && gate_.expire_writing(armed.cycle)) {
                judge_miss(armed, now_ns);
            }
        } else if (now_ns >= armed.limit_ns) {
            // The releases that passed meanwhile are lost with it.
            if (gate_.close(armed.cycle)) make_safe(FaultReason::limit_broken, now_ns);
        } else if (late_ns >= config_.hang_limit_ns && armed.cycle != hung_cycle_) {
            hung_cycle_ = armed.cycle;
            make_safe(FaultReason::hang, now_ns);
        }
    }

    // Until when a thread may sleep before it asks again.
    int64_t next_look_ns(int64_t now_ns) noexcept {
        const int64_t due = due_ns();
        if (due != kNever) return due;
        // Done or hung: the loop is about to arm its next cycle, whose deadline cannot be nearer
        // than this.
        const int64_t deadline_ns = gate_.armed().deadline_ns;
        if (deadline_ns > now_ns && deadline_ns != kNever) return deadline_ns + 1;
        return now_ns + config_.deadline_ns / 4;
    }

  private:
    void judge_miss(const Gate::Armed &armed, int64_t now_ns) noexcept {
        note(Outcome::none);
        status_.expired_deadline_ns.store(armed.deadline_ns, std::memory_order_relaxed);
        status_.expired_cycle.store(armed.cycle, std::memory_order_release);
        if (config_.loop_class == LoopClass::hard) make_safe(FaultReason::deadline_miss, now_ns);
    }
    void make_safe(FaultReason reason, int64_t now_ns) noexcept {
        wiring_.write_safe(now_ns);
        fault_.latch(reason);
        note(Outcome::safe);
    }
    void note(Outcome sent) noexcept {
        status_.expired_outcome.store(static_cast<uint32_t>(sent), std::memory_order_relaxed);
    }

    const LoopConfig &config_;
    const Wiring &wiring_;
    StandIn *const stand_in_;
    Gate &gate_;
    LoopStatus &status_;
    FaultLatch fault_;
    int64_t hung_cycle_ = -1;
};

}  // namespace rtloop
