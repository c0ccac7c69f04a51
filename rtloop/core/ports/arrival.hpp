// The news that a sample has come, from whoever brings it to a loop that sleeps until then.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <ctime>

namespace rtloop {

// One that waits, any number that tell; nobody waits for anybody but for the news. Telling is no
// system call while nobody waits.
class Arrival {
  public:
    // Whoever brings a sample, once it can be taken.
    void tell() noexcept {
        count_.fetch_add(1);
        if (waits_.load()) wake();
    }

    // The one that waits: how often it was told, to be asked before it looks for what came.
    uint32_t seen() const noexcept { return count_.load(); }

    // Until it is told more often than `seen`, at `until_ns` of CLOCK_MONOTONIC at the latest.
    // Whether it was.
    bool wait(uint32_t seen, int64_t until_ns) noexcept {
        constexpr int64_t kNs = 1'000'000'000;
        const timespec until{until_ns / kNs, until_ns % kNs};
        // Either whoever tells finds that somebody waits, or this finds that it was told: all of it
        // is sequentially consistent.
        waits_.store(true);
        while (count_.load() == seen && sleep(seen, until)) {
        }
        waits_.store(false);
        return count_.load() != seen;
    }

  private:
    static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t), "the kernel looks at it");

    // False when it is `until`.
    bool sleep(uint32_t seen, const timespec &until) noexcept {
        const int64_t result = syscall(SYS_futex, &count_, FUTEX_WAIT_BITSET_PRIVATE, seen, &until,
                                       nullptr, FUTEX_BITSET_MATCH_ANY);
        return result == 0 || errno != ETIMEDOUT;
    }
    void wake() noexcept {
        syscall(SYS_futex, &count_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
    }

    std::atomic<uint32_t> count_{0};
    std::atomic<bool> waits_{false};
};

}  // namespace rtloop
