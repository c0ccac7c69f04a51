// The two threads of a loop: one runs its cycles, the guard watches its deadlines.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "rtloop/core/cycle/loop.hpp"
#include "rtloop/core/threads/thread_setup.hpp"

namespace rtloop {

// What set_up() found.
struct SetUp {
    std::vector<Right> loop_rights;
    std::vector<Right> guard_rights;
    WarmUp warm_up;
    std::string error;  // empty: both threads wait for their first release
};

// One activation: set_up → activate → deactivate, once. Its destructor is the last safe command.
class LoopThreads {
  public:
    explicit LoopThreads(std::shared_ptr<Loop> loop);
    ~LoopThreads();
    LoopThreads(const LoopThreads &) = delete;
    LoopThreads &operator=(const LoopThreads &) = delete;

    // Starts both threads and returns when they have their rights and are warm. Nothing is sent.
    // Throws std::invalid_argument when the loop, or its graph, is another's or has been activated;
    // and what `look` throws, which is called now and then meanwhile: then deactivate().
    SetUp set_up(
        const ThreadSetup &loop_thread, const ThreadSetup &guard_thread, size_t warm_up_runs,
        const std::function<void()> &look = [] {});

    // Releases loops that are set up, together: one r0 for all of them, which is returned. Throws
    // std::invalid_argument when one of them is not set up.
    static int64_t activate(std::span<LoopThreads *const> all);

    // Ends both threads, activated or not; the safe command goes out last. False when the cycle did
    // not return within `timeout_ns`: then the safe command was sent from here, and its thread
    // stays behind, and the process ends without destructors of libraries. In a forked child it
    // does nothing.
    bool deactivate(int64_t timeout_ns);

    // Called once, when everything that could be ended has ended: threads that stay behind hold on
    // to what they have.
    static void process_will_end();

  private:
    void disown();

    struct Shared;  // what the threads hold on to, also when this object is gone

    std::shared_ptr<Shared> shared_;
    std::thread loop_thread_;
    std::thread guard_thread_;
    pid_t process_;
};

}  // namespace rtloop
