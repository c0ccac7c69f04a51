// Linux real-time set-up: every attribute is set, then read back, and reported as granted or
// denied.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace rtloop {

struct Right {
    std::string name;
    std::string requested;
    std::string actual;
    bool granted = false;
    int error = 0;  // errno of a denied request
};

enum class Scheduler : uint8_t { other = 0, fifo = 1, rr = 2, deadline = 3 };

struct ThreadSetup {
    std::string name;  // at most 15 characters
    Scheduler scheduler = Scheduler::other;
    int priority = 0;
    std::vector<int> cpus;  // empty: leave alone
    // SCHED_DEADLINE only
    int64_t runtime_ns = 0;
    int64_t deadline_ns = 0;
    int64_t period_ns = 0;
};

// To the calling thread, whose children do not inherit it (SCHED_RESET_ON_FORK).
std::vector<Right> apply_to_this_thread(const ThreadSetup &setup);

// CPUs and scheduler of another thread of this process, which a library has started.
std::vector<Right> apply_to_thread(pid_t thread, const ThreadSetup &setup);

// Touches the stack, so that the cycle never faults a page of it in.
void prefault_stack() noexcept;

// The CPUs this process may use.
std::vector<int> allowed_cpus();

// Process-wide: locks all memory, present and future, and keeps malloc from giving memory back.
Right lock_memory();

// Holds /dev/cpu_dma_latency at `max_latency_us` for as long as it lives: keeps CPUs out of deep
// sleep.
class CpuLatencyHold {
  public:
    explicit CpuLatencyHold(int32_t max_latency_us);
    ~CpuLatencyHold();
    CpuLatencyHold(const CpuLatencyHold &) = delete;
    CpuLatencyHold &operator=(const CpuLatencyHold &) = delete;
    const Right &right() const noexcept { return right_; }

  private:
    int fd_ = -1;
    Right right_;
};

}  // namespace rtloop
