// The thread of a topic: it sleeps until it is told that there is something to do, and no
// interpreter is involved. What it calls may lock, allocate and take its time; the cycle does not
// wait for it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "rtloop/core/threads/thread_setup.hpp"

namespace rtloop {

class TopicThread {
  public:
    // `work` is called when the thread begins, whenever it was told, and at the time that it
    // returned last (CLOCK_MONOTONIC; INT64_MAX: only when told). What it holds on to lives until
    // the thread has ended. `name` has at most 15 characters. Throws std::system_error.
    TopicThread(const std::string &name, std::function<int64_t()> work);
    ~TopicThread() { end(); }
    TopicThread(const TopicThread &) = delete;
    TopicThread &operator=(const TopicThread &) = delete;

    // Any thread: one futex call where it sleeps, nothing otherwise.
    void tell() noexcept;
    // The same, for a callback that is handed a pointer: valid until this is destroyed,
    // and for ever after outlive().
    static void tell(const void *thread) noexcept;
    const void *told_through() const noexcept;
    void outlive();

    // False in a forked child, where there is no such thread.
    bool is_here() const noexcept;
    // What became of each attribute; it inherits none.
    std::vector<Right> schedule(const ThreadSetup &setup);

    // One other thread, any number of times. False: it is in a call that does not return, or gets
    // no CPU; it is left behind, and what it calls must stay. In a forked child it does nothing,
    // and is false.
    bool end();

  private:
    struct Shared;  // what the thread holds on to, also when this object is gone

    std::shared_ptr<Shared> shared_;
    std::thread thread_;
    pid_t process_;
};

}  // namespace rtloop
