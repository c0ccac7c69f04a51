// The bridge to ZeroMQ between a loop, a guard, whoever looks at it and whoever closes it, raced
// for a while: built with -fsanitize=thread by test_races.py, which is the device that sends all
// back. libzmq itself is not instrumented: what it does is left out.
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>

#include "check.hpp"
#include "rtloop/core/ports/zmq_bridge.hpp"

namespace {

using rtloop::ZmqBridge;

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr uint32_t kMark = 0x5AFE5AFE;

struct Message {
    uint32_t writer;
    uint32_t number;
    uint32_t bridge;
    uint32_t mark;
};

// As a port does: its own copy of the descriptor, no call that waits.
class Line {
  public:
    Line(int fd, uint32_t bridge) : fd_(fcntl(fd, F_DUPFD_CLOEXEC, 0)), bridge_(bridge) {
        CHECK(fd_ >= 0);
    }
    ~Line() { close(fd_); }

    // False: it is gone.
    bool write(uint32_t writer, uint32_t number) const {
        const Message message = {writer, number, bridge_, kMark};
        const ssize_t n = send(fd_, &message, sizeof(message), MSG_DONTWAIT | MSG_NOSIGNAL);
        return n >= 0 || errno == EAGAIN;
    }
    // All that is there, whole and in order. False: it is gone.
    bool read(uint32_t (&newest)[2]) {
        Message message;
        ssize_t n = 0;
        while ((n = recv(fd_, &message, sizeof(message), MSG_DONTWAIT)) > 0) {
            CHECK(n == sizeof(message));
            CHECK(message.mark == kMark && message.writer < 2);
            if (message.bridge != bridge_) continue;  // of one before, whose answer came late
            CHECK(message.number > newest[message.writer]);
            newest[message.writer] = message.number;
            ++received;
        }
        return n < 0 && errno == EAGAIN;
    }

    int received = 0;

  private:
    const int fd_;
    const uint32_t bridge_;
};

// Ends by a close() beside them, or because the device hangs up. Returns what came back.
int race(const std::string &library, const std::string &endpoint, uint32_t number,
         bool device_ends) {
    std::unique_ptr<ZmqBridge> opened;
    for (int i = 0; i < 1000; ++i) {  // the device may not listen yet
        opened = std::make_unique<ZmqBridge>(library, endpoint);
        if (opened->wait(60 * kSecondNs) == ZmqBridge::Stage::open) break;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ZmqBridge &bridge = *opened;
    CHECK(bridge.wait(0) == ZmqBridge::Stage::open);
    Line line(bridge.fd(), number);
    std::atomic<bool> stop{false};
    std::atomic<bool> is_lost{false};

    std::thread loop([&] {
        uint32_t newest[2] = {0, 0};
        for (uint32_t number = 1; line.write(0, number) && line.read(newest); ++number) {
            std::this_thread::yield();
        }
        is_lost.store(true);
    });
    std::thread guard([&] {
        const Line own(bridge.fd(), number);
        for (uint32_t number = 1; !stop.load() && own.write(1, number); ++number) {
            std::this_thread::yield();
        }
    });
    std::thread observer([&] {
        rtloop::ThreadSetup setup;
        while (!stop.load()) {
            bridge.schedule(setup);
            bridge.wait(0);
            CHECK(bridge.reached() == ZmqBridge::Stage::open);
        }
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    if (device_ends) {
        const Line own(bridge.fd(), number);
        while (!is_lost.load()) {
            own.write(2, 0);  // told to hang up
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        CHECK(bridge.wait(60 * kSecondNs) == ZmqBridge::Stage::lost);
    }
    stop.store(true);
    guard.join();
    observer.join();
    bridge.close();
    loop.join();
    return line.received;
}

}  // namespace

int main(int argc, char **argv) {
    CHECK(argc == 3);
    int received = 0;
    for (uint32_t i = 0; i < 10; ++i) received += race(argv[1], argv[2], i, i % 2 == 1);
    CHECK(received > 100);
    std::puts("no race");
    return 0;
}
