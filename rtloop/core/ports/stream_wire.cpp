#include "rtloop/core/ports/stream_wire.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "rtloop/core/cycle/clock.hpp"

namespace rtloop {

namespace {

// A tty hands out at most so much at once.
constexpr size_t kReadBytes = 4096;
// What is looked at: more than the line of a device that keeps its rate ever holds. What is beyond
// is a flood; it is skipped, up to its end or to this bound, and its last bytes are looked at
// again: they hold the newest sample.
constexpr int kReadsLookedAt = 4;
constexpr int kReadsSkipped = 64;
constexpr int kReadsToDrain = 256;

// 0: nothing more is there, or the line is gone.
size_t read_some(int fd, uint8_t *bytes, int *error) noexcept {
    // Never read() an empty line: for a tty the kernel then waits, O_NONBLOCK or not, for the
    // worker that moves received bytes (n_tty_read → tty_buffer_flush_work), and with it for
    // everything that keeps an ordinary thread off the CPU. Measured: 200 ms on a busy machine.
    // Asking first does not wait.
    int available = 0;
    if (ioctl(fd, FIONREAD, &available) < 0) {
        *error = errno;
        return 0;
    }
    if (available == 0) return 0;
    const ssize_t n = ::read(fd, bytes, kReadBytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (n <= 0) {
        *error = n == 0 ? ENODEV : errno;
        return 0;
    }
    return static_cast<size_t>(n);
}

}  // namespace

void StreamWire::drain(int fd) noexcept {
    uint8_t bytes[kReadBytes];
    for (int i = 0; i < kReadsToDrain; ++i) {
        if (::read(fd, bytes, sizeof(bytes)) <= 0) break;
    }
}

Wire::Received StreamWire::receive(int fd, Receiver &receiver) noexcept {
    Received received;
    uint8_t bytes[kReadBytes];
    for (int i = 0; i < kReadsLookedAt; ++i) {
        const size_t n = read_some(fd, bytes, &received.error);
        if (n == 0) return received;
        decode(bytes, n, receiver, received);
    }
    // A flood. Of what follows the last bytes are kept, which hold a whole packet.
    static_assert(kReadBytes > 2 * RTL_FRAME_MAX);
    size_t kept = 0;
    for (int i = 0; i < kReadsSkipped; ++i) {
        uint8_t more[kReadBytes];
        const size_t n = read_some(fd, more, &received.error);
        if (n == 0) break;
        const size_t old = std::min(kept, kReadBytes - n);
        std::memmove(bytes, bytes + kept - old, old);
        std::memcpy(bytes + old, more, n);
        received.discarded += static_cast<uint32_t>(kept - old);
        kept = old + n;
    }
    if (kept == 0) return received;
    // Bytes may be missing before these: begin at a delimiter.
    const void *const delimiter = std::memchr(bytes, 0, kept);
    if (delimiter == nullptr) return received;
    const auto skipped = static_cast<size_t>(static_cast<const uint8_t *>(delimiter) - bytes);
    rtl_frame_decoder_init(&decoder_);
    decode(bytes + skipped, kept - skipped, receiver, received);
    return received;
}

void StreamWire::decode(const uint8_t *bytes, size_t n, Receiver &receiver,
                        Received &received) noexcept {
    // Now, not when the cycle began: what has just been read may have arrived since, and no packet
    // may seem to have arrived before it was sent.
    const int64_t now_ns = MonotonicClock().now();
    const uint32_t errors = decoder_.errors;
    for (size_t used = 0; used < n;) {
        const uint8_t *packet = nullptr;
        size_t size = 0;
        used += rtl_frame_decoder_feed(&decoder_, bytes + used, n - used, &packet, &size);
        if (size > 0) receiver.accept(packet, size, now_ns);
    }
    received.broken += decoder_.errors - errors;
}

// In one write. A frame that was cut is dropped by the other side, and not sent again.
Wire::Sent StreamWire::send(int fd, const Packet *packets, size_t n) noexcept {
    Sent sent;
    uint8_t bytes[1 + kPacketsAtOnce * RTL_FRAME_MAX];
    size_t ends[kPacketsAtOnce];
    size_t size = 0;
    if (frame_was_cut_) bytes[size++] = 0;
    n = std::min(n, kPacketsAtOnce);
    for (size_t i = 0; i < n; ++i) {
        size += rtl_frame_encode(packets[i].bytes, packets[i].size, bytes + size);
        ends[i] = size;
    }
    const ssize_t written = ::write(fd, bytes, size);
    if (written < 0 && errno != EAGAIN && errno != EINTR) sent.error = errno;
    if (written <= 0) return sent;
    const auto left = static_cast<size_t>(written);
    while (sent.packets < n && ends[sent.packets] <= left) ++sent.packets;
    // The delimiter that ends a cut frame is the first byte of the next one.
    frame_was_cut_ = left != (sent.packets > 0 ? ends[sent.packets - 1] : 0);
    return sent;
}

void StreamWire::send_last(int fd, const Packet &packet) noexcept {
    uint8_t bytes[1 + RTL_FRAME_MAX] = {0};
    const size_t size = 1 + rtl_frame_encode(packet.bytes, packet.size, bytes + 1);
    const ssize_t ignored = ::write(fd, bytes, size);
    static_cast<void>(ignored);
}

}  // namespace rtloop
