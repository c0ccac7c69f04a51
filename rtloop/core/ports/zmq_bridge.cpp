#include "rtloop/core/ports/zmq_bridge.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <iterator>
#include <mutex>
#include <stdexcept>
#include <system_error>

#include "rtloop/core/ports/zmq_api.hpp"
#include "rtloop/core/ports/zmq_process.hpp"
#include "rtloop/core/threads/signals_blocked.hpp"
#include "rtloop/packet.h"

namespace rtloop {

namespace {

using std::chrono::milliseconds;

// What waits is old. From the host: as many packets as two cycles or three make, then the line
// takes none, and a command that it does not take is recorded as dropped. From the device: a tenth
// of a second at 1 kHz; then the oldest makes room.
constexpr int kFromHostBytes = 8 * 1024;
constexpr int kToHostBytes = 32 * 1024;
constexpr int kSendHighWater = 4;
constexpr int kReceiveHighWater = 64;
constexpr int kSendBufferBytes = 32 * 1024;
// No packet is longer; a peer that sends more is none of ours, and libzmq hangs up.
constexpr int64_t kMaxMessageBytes = 4096;
// The same for both directions. A link that is in use misses its samples long before.
constexpr int kHeartbeatIntervalMs = 500;
constexpr int kHeartbeatTimeoutMs = 2000;
constexpr int kConnectTimeoutMs = 3000;
// "Expedited forwarding" (RFC 3246), for networks that look at it.
constexpr int kTypeOfService = 46 << 2;
// The last packets, STOP among them, have so long to leave.
constexpr int kLingerMs = 200;
constexpr milliseconds kEndsWithin(1000);
// So many one after the other, then the other direction has its turn.
constexpr int kTurn = 64;

constexpr const char *kMonitorName = "inproc://events";
constexpr int kLosses = zmq::kClosed | zmq::kDisconnected | zmq::kHandshakeFailedNoDetail |
                        zmq::kHandshakeFailedProtocol | zmq::kHandshakeFailedAuth;

[[noreturn]] void fail(const char *what) {
    throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

struct ZmqBridge::Shared {
    Shared(const std::string &library, std::string to) : api(library), endpoint(std::move(to)) {}
    ~Shared();

    void open_pair();
    void open_socket();
    void set(int option, int value) { api.setsockopt(socket, option, &value, sizeof(value)); }
    [[noreturn]] void fail_in_libzmq(const char *what) const;

    // The thread.
    void run();
    bool move();
    bool follow_events();
    void keep_connection(int fd);
    void from_peer();
    void deliver(const uint8_t *packet, size_t size);
    bool to_peer();
    void send_what_is_left();
    void hang_up();
    void end_socket();

    void enter(Stage next);

    const zmq::Api api;
    const std::string endpoint;
    void *context = nullptr;
    void *socket = nullptr;
    void *events = nullptr;  // of the connection, as libzmq tells them
    int host_fd = -1;
    int bridge_fd = -1;
    int end_fd = -1;
    int connection_fd = -1;        // a copy of libzmq's
    uint8_t held[RTL_PACKET_MAX];  // that libzmq has not taken yet
    size_t held_size = 0;

    std::vector<pid_t> of_libzmq;  // its threads: one that reaps, one that does the I/O
    std::atomic<pid_t> thread_id{0};

    mutable std::mutex mutex;
    mutable std::condition_variable changed;
    Stage stage = Stage::connecting;
    Stage reached = Stage::connecting;
    bool has_ended = false;
};

ZmqBridge::Shared::~Shared() {
    end_socket();
    for (const int fd : {host_fd, bridge_fd, end_fd}) {
        if (fd >= 0) ::close(fd);
    }
}

void ZmqBridge::Shared::fail_in_libzmq(const char *what) const {
    throw std::runtime_error(std::string(what) + ": " + api.error_text(api.last_error()));
}

void ZmqBridge::Shared::open_pair() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) < 0) {
        fail("no pair of sockets for a ZeroMQ link");
    }
    host_fd = ends[0];
    bridge_fd = ends[1];
    setsockopt(host_fd, SOL_SOCKET, SO_SNDBUF, &kFromHostBytes, sizeof(int));
    setsockopt(bridge_fd, SOL_SOCKET, SO_SNDBUF, &kToHostBytes, sizeof(int));
    end_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (end_fd < 0) fail("no eventfd for a ZeroMQ link");
}

void ZmqBridge::Shared::open_socket() {
    zmq::check_room_in_process();
    context = api.ctx_new();
    if (context == nullptr) fail_in_libzmq("no context of libzmq");
    {
        // Its threads start here, and say nowhere who they are.
        static std::mutex one_at_a_time;
        const std::scoped_lock lock(one_at_a_time);
        const std::vector<pid_t> before = zmq::threads_of_process();
        socket = api.socket(context, zmq::kDealer);
        const std::vector<pid_t> after = zmq::threads_of_process();
        std::set_difference(after.begin(), after.end(), before.begin(), before.end(),
                            std::back_inserter(of_libzmq));
    }
    if (socket == nullptr) fail_in_libzmq("no socket of libzmq");
    set(zmq::kLinger, 0);
    set(zmq::kImmediate, 1);
    set(zmq::kReconnectInterval, -1);
    set(zmq::kSendHighWater, kSendHighWater);
    set(zmq::kReceiveHighWater, kReceiveHighWater);
    set(zmq::kSendBuffer, kSendBufferBytes);
    set(zmq::kHeartbeatInterval, kHeartbeatIntervalMs);
    set(zmq::kHeartbeatTimeout, kHeartbeatTimeoutMs);
    set(zmq::kHeartbeatTtl, kHeartbeatTimeoutMs);
    set(zmq::kConnectTimeout, kConnectTimeoutMs);
    set(zmq::kTypeOfService, kTypeOfService);
    set(zmq::kIpv6, endpoint.find('[') != std::string::npos);
    api.setsockopt(socket, zmq::kMaxMessageSize, &kMaxMessageBytes, sizeof(kMaxMessageBytes));

    const int told = zmq::kConnected | zmq::kHandshakeSucceeded | kLosses;
    if (api.socket_monitor(socket, kMonitorName, told) < 0) fail_in_libzmq("no events of libzmq");
    events = api.socket(context, zmq::kPair);
    if (events == nullptr || api.connect(events, kMonitorName) < 0) {
        fail_in_libzmq("no events of libzmq");
    }
    if (api.connect(socket, endpoint.c_str()) < 0) {
        fail_in_libzmq(("cannot connect to " + endpoint).c_str());
    }
}

// With what libzmq was given before, where its linger lets it wait for that; never for longer.
void ZmqBridge::Shared::end_socket() {
    if (socket != nullptr) {
        api.socket_monitor(socket, nullptr, 0);
        api.close(socket);
    }
    if (events != nullptr) {
        const int nothing = 0;
        api.setsockopt(events, zmq::kLinger, &nothing, sizeof(nothing));
        api.close(events);
    }
    while (context != nullptr && api.ctx_term(context) < 0 && api.last_error() == EINTR) {
    }
    context = socket = events = nullptr;
    // Of the other end, too: a forked child would keep it, and the device serve nobody else.
    if (connection_fd >= 0) {
        ::shutdown(connection_fd, SHUT_RDWR);
        ::close(connection_fd);
    }
    connection_fd = -1;
}

void ZmqBridge::Shared::enter(Stage next) {
    const std::scoped_lock lock(mutex);
    stage = next;
    if (next != Stage::lost) reached = next;
    changed.notify_all();
}

void ZmqBridge::Shared::run() {
    pthread_setname_np(pthread_self(), "rtloop zmq");
    thread_id.store(static_cast<pid_t>(syscall(SYS_gettid)));
    const bool was_told_to_end = move();
    if (was_told_to_end) {
        send_what_is_left();
        set(zmq::kLinger, kLingerMs);
    } else {
        hang_up();
    }
    enter(Stage::lost);
    end_socket();
    const std::scoped_lock lock(mutex);
    has_ended = true;
    thread_id.store(0);
    changed.notify_all();
}

// True: close() was called; false: the connection is lost.
bool ZmqBridge::Shared::move() {
    for (;;) {
        const bool holds = held_size > 0;
        zmq::PollItem items[] = {
            {nullptr, end_fd, zmq::kPollIn, 0},
            {events, -1, zmq::kPollIn, 0},
            {socket, -1, static_cast<short>(zmq::kPollIn | (holds ? zmq::kPollOut : 0)), 0},
            {nullptr, bridge_fd, holds ? short{0} : zmq::kPollIn, 0},
        };
        if (api.poll(items, 4, -1) < 0 && api.last_error() != EINTR) return false;
        if (items[0].revents != 0) return true;
        if (items[2].revents & zmq::kPollIn) from_peer();
        if (items[1].revents != 0 && !follow_events()) return false;
        to_peer();
    }
}

// False: it is lost.
bool ZmqBridge::Shared::follow_events() {
    uint8_t bytes[6];
    while (api.recv(events, bytes, sizeof(bytes), zmq::kDontWait) >= 0) {
        uint16_t event;
        std::memcpy(&event, bytes, sizeof(event));
        uint8_t endpoint[1];
        api.recv(events, endpoint, sizeof(endpoint), zmq::kDontWait);
        if (event & kLosses) return false;
        int32_t value;
        std::memcpy(&value, bytes + sizeof(event), sizeof(value));
        keep_connection(value);
        enter(event == zmq::kConnected ? Stage::greeting : Stage::open);
    }
    return true;
}

// It may be closed by now, and its number be another's.
void ZmqBridge::Shared::keep_connection(int fd) {
    if (connection_fd >= 0) return;
    connection_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (connection_fd < 0 || zmq::peer_of(connection_fd) == endpoint) return;
    ::close(connection_fd);
    connection_fd = -1;
}

void ZmqBridge::Shared::from_peer() {
    uint8_t packet[RTL_PACKET_MAX + 1];  // a longer one is seen to be one, and refused
    for (int i = 0; i < kTurn; ++i) {
        const int n = api.recv(socket, packet, sizeof(packet), zmq::kDontWait);
        if (n < 0) return;
        size_t size = std::min(static_cast<size_t>(n), sizeof(packet));
        bool is_packet = size > 0;
        for (;;) {
            int more = 0;
            size_t more_size = sizeof(more);
            api.getsockopt(socket, zmq::kReceiveMore, &more, &more_size);
            if (more == 0) break;
            is_packet = false;
            uint8_t rest[1];
            if (api.recv(socket, rest, sizeof(rest), zmq::kDontWait) < 0) break;
        }
        // A message of no byte, or of several frames, is none of ours: one broken packet.
        if (!is_packet) {
            packet[0] = 0;
            size = 1;
        }
        deliver(packet, size);
    }
}

void ZmqBridge::Shared::deliver(const uint8_t *packet, size_t size) {
    uint8_t oldest[RTL_PACKET_MAX + 1];
    // Where nobody reads, the newest is there for whoever does later.
    while (::send(bridge_fd, packet, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EAGAIN) {
        if (::recv(host_fd, oldest, sizeof(oldest), MSG_DONTWAIT) <= 0) return;
    }
}

// True: all that there was.
bool ZmqBridge::Shared::to_peer() {
    for (int i = 0; i < kTurn; ++i) {
        if (held_size == 0) {
            const ssize_t n = ::recv(bridge_fd, held, sizeof(held), MSG_DONTWAIT);
            if (n <= 0) return true;
            held_size = static_cast<size_t>(n);
        }
        if (api.send(socket, held, held_size, zmq::kDontWait) < 0) return false;
        held_size = 0;
    }
    return false;
}

void ZmqBridge::Shared::send_what_is_left() {
    const auto give_up = std::chrono::steady_clock::now() + milliseconds(kLingerMs);
    while (!to_peer() && std::chrono::steady_clock::now() < give_up) {
        zmq::PollItem item = {socket, -1, zmq::kPollOut, 0};
        api.poll(&item, 1, 10);
    }
}

// An end that is closed with something unread in it leaves ECONNRESET at the other. A forked child
// keeps the end open: to the others it is shut down, which reads as nothing and takes no packet.
void ZmqBridge::Shared::hang_up() {
    static_cast<void>(::send(host_fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL));
    ::shutdown(bridge_fd, SHUT_RDWR);
    ::close(bridge_fd);
    bridge_fd = -1;
}

ZmqBridge::ZmqBridge(const std::string &library, const std::string &endpoint)
    : shared_(std::make_shared<Shared>(library, endpoint)), process_(getpid()) {
    const SignalsBlocked none;
    shared_->open_pair();
    shared_->open_socket();
    thread_ = std::thread([shared = shared_] { shared->run(); });
}

ZmqBridge::~ZmqBridge() {
    close();
}

int ZmqBridge::fd() const noexcept {
    return shared_ == nullptr ? -1 : shared_->host_fd;
}

ZmqBridge::Stage ZmqBridge::wait(int64_t timeout_ns) const {
    if (shared_ == nullptr) return Stage::lost;
    std::unique_lock lock(shared_->mutex);
    shared_->changed.wait_for(lock, std::chrono::nanoseconds(timeout_ns), [this] {
        return shared_->stage == Stage::open || shared_->stage == Stage::lost;
    });
    return shared_->stage;
}

ZmqBridge::Stage ZmqBridge::reached() const {
    if (shared_ == nullptr) return Stage::connecting;
    const std::scoped_lock lock(shared_->mutex);
    return shared_->reached;
}

std::vector<Right> ZmqBridge::schedule(const ThreadSetup &setup) {
    std::vector<Right> rights;
    if (shared_ == nullptr) return rights;
    std::vector<pid_t> threads = {shared_->thread_id.load()};
    for (const pid_t thread : shared_->of_libzmq) {
        if (zmq::name_of_thread(thread).find("IO") != std::string::npos) threads.push_back(thread);
    }
    for (const pid_t thread : threads) {
        if (thread == 0) continue;
        const std::vector<Right> of_one = apply_to_thread(thread, setup);
        rights.insert(rights.end(), of_one.begin(), of_one.end());
    }
    return rights;
}

void ZmqBridge::close() {
    if (shared_ == nullptr) return;
    if (getpid() != process_) {
        // There are no such threads in a forked child, and the connection is its parent's.
        static_cast<void>(new std::thread(std::move(thread_)));  // never destroyed
        static_cast<void>(new std::shared_ptr<Shared>(std::move(shared_)));
        return;
    }
    const uint64_t one = 1;
    static_cast<void>(::write(shared_->end_fd, &one, sizeof(one)));
    bool has_ended = false;
    {
        std::unique_lock lock(shared_->mutex);
        has_ended =
            shared_->changed.wait_for(lock, kEndsWithin, [this] { return shared_->has_ended; });
    }
    // Kept from its CPU it ends when it gets it; nobody waits for that.
    if (has_ended) {
        thread_.join();
    } else {
        thread_.detach();
    }
    shared_ = nullptr;
}

}  // namespace rtloop
