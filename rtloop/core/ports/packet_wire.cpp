#include "rtloop/core/ports/packet_wire.hpp"

#include <sys/socket.h>

#include <cerrno>

#include "rtloop/core/cycle/clock.hpp"

namespace rtloop {

namespace {

// In one cycle. More than a device that keeps its rate ever leaves, and more than waits: the queues
// of these lines are bounded where they are opened (link/transports/udp.py, zmq_bridge.cpp), and
// the kernel drops what a flood brings beyond. So the newest of what waited is known all the same.
constexpr int kPacketsAtMost = 128;
constexpr int kPacketsToDrain = 4096;
constexpr int kRoomForTheLastBytes = 64 * 1024;  // beyond what any link of ours waits with

struct Slot {
    uint8_t bytes[RTL_PACKET_MAX + 1];  // a longer packet is seen to be one, and refused
    size_t size;
};

// What an ICMP message or a full queue leaves on a socket that can be used all the same: the device
// may be back, the message be forged. Silence decides.
bool is_refusal(int error) noexcept {
    switch (error) {
        case ECONNREFUSED:
        case EHOSTUNREACH:
        case EHOSTDOWN:
        case ENETUNREACH:
        case ENETDOWN:
        case ENOBUFS:
        case EPERM:
            return true;
        default:
            return false;
    }
}

// An empty datagram is a packet, if no good one; nothing, from a socket of connections, is the end.
bool has_hung_up(int fd) noexcept {
    int type = 0;
    socklen_t size = sizeof(type);
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type != SOCK_DGRAM;
}

// False: nothing more is there, or the line is gone.
bool receive_one(int fd, Slot &slot, Wire::Received &received) noexcept {
    for (int i = 0; i < 2; ++i) {
        const ssize_t n = recv(fd, slot.bytes, sizeof(slot.bytes), MSG_DONTWAIT);
        if (n > 0 || (n == 0 && !has_hung_up(fd))) {
            slot.size = static_cast<size_t>(n);
            received.refusal = 0;
            return true;
        }
        if (n == 0) {
            received.error = ECONNRESET;
            return false;
        }
        if (!is_refusal(errno)) {
            if (errno != EAGAIN && errno != EINTR) received.error = errno;
            return false;
        }
        // Told once; behind it there may be packets.
        received.refusal = errno;
    }
    return false;
}

}  // namespace

void PacketWire::drain(int fd) noexcept {
    Slot slot;
    Received received;
    for (int i = 0; i < kPacketsToDrain && receive_one(fd, slot, received); ++i) {
    }
}

Wire::Received PacketWire::receive(int fd, Receiver &receiver) noexcept {
    Received received;
    Slot slot;
    MonotonicClock clock;
    for (int i = 0; i < kPacketsAtMost && receive_one(fd, slot, received); ++i) {
        receiver.accept(slot.bytes, slot.size, clock.now());
    }
    return received;
}

Wire::Sent PacketWire::send(int fd, const Packet *packets, size_t n) noexcept {
    Sent sent;
    while (sent.packets < n) {
        const Packet &packet = packets[sent.packets];
        ssize_t left = -1;
        // A refusal of what was sent before is told here, and then this one has not left.
        for (int i = 0; i < 2 && left < 0; ++i) {
            left = ::send(fd, packet.bytes, packet.size, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (left >= 0 || !is_refusal(errno)) break;
            sent.refusal = errno;
        }
        if (left < 0) {
            if (errno != EAGAIN && errno != EINTR && !is_refusal(errno)) sent.error = errno;
            return sent;
        }
        ++sent.packets;
    }
    return sent;
}

void PacketWire::send_last(int fd, const Packet &packet) noexcept {
    if (send(fd, &packet, 1).packets == 1) return;
    // What waits there is older, and no reason to keep the last one back.
    const int room = kRoomForTheLastBytes;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    send(fd, &packet, 1);
}

}  // namespace rtloop
