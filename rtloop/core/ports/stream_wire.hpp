// Packets as frames on a stream of bytes: a serial line, a pty.
#pragma once

#include "rtloop/core/ports/wire.hpp"
#include "rtloop/frame.h"

namespace rtloop {

class StreamWire final : public Wire {
  public:
    StreamWire() { rtl_frame_decoder_init(&decoder_); }

    void forget_received() noexcept override { rtl_frame_decoder_init(&decoder_); }
    void forget_sent() noexcept override { frame_was_cut_ = false; }
    void drain(int fd) noexcept override;
    Received receive(int fd, Receiver &receiver) noexcept override;
    Sent send(int fd, const Packet *packets, size_t n) noexcept override;
    void send_last(int fd, const Packet &packet) noexcept override;

  private:
    void decode(const uint8_t *bytes, size_t n, Receiver &receiver, Received &received) noexcept;

    rtl_frame_decoder decoder_;
    bool frame_was_cut_ = false;  // of the one that writes
};

}  // namespace rtloop
