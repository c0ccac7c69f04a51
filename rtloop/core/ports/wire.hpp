// How packets travel over the descriptor of a line: as frames on a stream of bytes (serial), or as
// they are, where what is behind the descriptor keeps them apart (UDP, ZeroMQ).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "rtloop/packet.h"

namespace rtloop {

// A command and what may be due with it: a request for the device's time, one for its account.
constexpr size_t kPacketsAtOnce = 3;

struct Packet {
    uint8_t bytes[RTL_PACKET_MAX];
    size_t size = 0;
};

// Receives on the loop's thread; sends for the one that writes, loop or guard. Descriptors are
// non-blocking. No call waits, allocates or throws.
class Wire {
  public:
    class Receiver {
      public:
        // A packet of any size, not looked at yet. `now_ns` is when it was read.
        virtual void accept(const uint8_t *packet, size_t size, int64_t now_ns) noexcept = 0;

      protected:
        ~Receiver() = default;
    };

    struct Received {
        uint32_t broken = 0;     // frames that held no packet
        uint32_t discarded = 0;  // bytes of a flood, not looked at
        int refusal = 0;         // after all else the network said that nobody is there: an errno
        int error = 0;           // the line is gone: an errno, or 0
    };

    struct Sent {
        size_t packets = 0;  // of those given, the first so many have left
        int refusal = 0;     // before them
        int error = 0;
    };

    // At configure time.
    static std::unique_ptr<Wire> make(bool keeps_packets);

    virtual ~Wire() = default;

    // Nothing was received before, or sent: another activation, another line.
    virtual void forget_received() noexcept {}
    virtual void forget_sent() noexcept {}

    // Drops what is there, up to a bound.
    virtual void drain(int fd) noexcept = 0;

    // Hands over what is there, up to a bound: what a flood brings beyond it is skipped here, or
    // does not fit into the queue. So at its end the newest of what waited is known.
    virtual Received receive(int fd, Receiver &receiver) noexcept = 0;

    // At most kPacketsAtOnce. All of them or the first of them, never a part of one that the other
    // side would take.
    virtual Sent send(int fd, const Packet *packets, size_t n) noexcept = 0;

    // Any thread, beside a send: what was cut is ended first. Best effort.
    virtual void send_last(int fd, const Packet &packet) noexcept = 0;
};

}  // namespace rtloop
