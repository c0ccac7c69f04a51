// The few calls of libzmq that the core makes, looked up in the library at run time: pyzmq's wheel
// ships it without a header, and the flat C API has kept its numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace rtloop::zmq {

inline constexpr int kPair = 0;
inline constexpr int kDealer = 5;

inline constexpr int kDontWait = 1;
inline constexpr short kPollIn = 1;
inline constexpr short kPollOut = 2;

// Options of a socket; int but where it says so.
enum Option : int {
    kSendBuffer = 11,
    kReceiveMore = 13,
    kLinger = 17,
    kReconnectInterval = 18,
    kMaxMessageSize = 22,  // int64_t
    kSendHighWater = 23,
    kReceiveHighWater = 24,
    kImmediate = 39,
    kIpv6 = 42,
    kTypeOfService = 57,
    kHeartbeatInterval = 75,
    kHeartbeatTtl = 76,
    kHeartbeatTimeout = 77,
    kConnectTimeout = 79,
};

// Events of a monitor.
enum Event : uint16_t {
    kConnected = 0x0001,
    kClosed = 0x0080,
    kDisconnected = 0x0200,
    kHandshakeFailedNoDetail = 0x0800,
    kHandshakeSucceeded = 0x1000,
    kHandshakeFailedProtocol = 0x2000,
    kHandshakeFailedAuth = 0x4000,
};

struct PollItem {
    void *socket;
    int fd;
    short events;
    short revents;
};

class Api {
  public:
    // Loads libzmq, once and for good. Throws std::runtime_error when it is not there, or older
    // than 4.3, which does not tell when a handshake is done.
    explicit Api(const std::string &library_path);

    void *(*ctx_new)();
    int (*ctx_term)(void *context);
    void *(*socket)(void *context, int type);
    int (*close)(void *socket);
    int (*setsockopt)(void *socket, int option, const void *value, size_t size);
    int (*getsockopt)(void *socket, int option, void *value, size_t *size);
    int (*connect)(void *socket, const char *endpoint);
    int (*socket_monitor)(void *socket, const char *endpoint, int events);
    int (*send)(void *socket, const void *bytes, size_t size, int flags);
    int (*recv)(void *socket, void *bytes, size_t size, int flags);
    int (*poll)(PollItem *items, int n, long timeout_ms);
    int (*last_error)();  // zmq_errno
    const char *(*error_text)(int error);

  private:
    void (*version)(int *major, int *minor, int *patch);
};

}  // namespace rtloop::zmq
