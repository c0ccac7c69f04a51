// Packets as they are, over a socket that keeps them apart: a connected UDP socket, or the end of
// an AF_UNIX SOCK_SEQPACKET pair behind which another thread carries them on.
#pragma once

#include "rtloop/core/ports/wire.hpp"

namespace rtloop {

class PacketWire final : public Wire {
  public:
    void drain(int fd) noexcept override;
    Received receive(int fd, Receiver &receiver) noexcept override;
    Sent send(int fd, const Packet *packets, size_t n) noexcept override;
    void send_last(int fd, const Packet &packet) noexcept override;
};

}  // namespace rtloop
