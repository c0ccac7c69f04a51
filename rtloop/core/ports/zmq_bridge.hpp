// ZeroMQ beside the cycle: a thread that moves packets between a DEALER of libzmq and one end of a
// pair of local sockets. The other end is the line of a link: the cycle never calls libzmq.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "rtloop/core/threads/thread_setup.hpp"

namespace rtloop {

// One connection, once: libzmq does not reconnect behind it. When it ends, so does the pair, with
// ECONNRESET for whoever reads or writes next. One thread at a time calls it.
class ZmqBridge {
  public:
    enum class Stage : uint8_t {
        connecting,  // nobody has taken the connection
        greeting,    // TCP stands; the two ends have not agreed on ZMTP
        open,
        lost  // the last one
    };

    // Loads libzmq from `library` and begins to connect to `endpoint`, "tcp://ADDRESS:PORT" with an
    // address and no name, which would have to be resolved. Throws std::runtime_error,
    // std::system_error.
    ZmqBridge(const std::string &library, const std::string &endpoint);
    ~ZmqBridge();
    ZmqBridge(const ZmqBridge &) = delete;
    ZmqBridge &operator=(const ZmqBridge &) = delete;

    // Keeps packets apart: each read and each write is one. Non-blocking, valid until close().
    int fd() const noexcept;

    // Returns once it is open or lost, or after `timeout_ns`.
    Stage wait(int64_t timeout_ns) const;
    // How far it came, whether it was lost or not.
    Stage reached() const;

    // For its own thread and that of libzmq, which inherit nothing: what became of each attribute.
    std::vector<Right> schedule(const ThreadSetup &setup);

    // Sends what was written, for which it waits for a moment at most, and ends. May be called
    // again; in a forked child it does nothing.
    void close();

  private:
    struct Shared;  // what the thread holds on to, also when this object is gone

    std::shared_ptr<Shared> shared_;
    std::thread thread_;
    pid_t process_;
};

}  // namespace rtloop
