#include "rtloop/core/ports/link.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <system_error>

namespace rtloop {

namespace {

constexpr int64_t kTimeRequestIntervalNs = 100'000'000;
// Enough for 4 periods of the largest packets; bounds what a babbling device can cost a cycle.
constexpr size_t kReadBytes = 1024;
constexpr int kReadsPerCycle = 4;
constexpr int kReadsToDrain = 256;

void make_non_blocking(int fd) {
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        throw std::system_error(errno, std::generic_category(), "cannot set the link non-blocking");
    }
    // With VMIN 0 a hung-up line reads like an idle one; with VMIN 1 "nothing yet" is EAGAIN.
    termios tio;
    if (isatty(fd) && tcgetattr(fd, &tio) == 0) {
        tio.c_cc[VMIN] = 1;
        tio.c_cc[VTIME] = 0;
        if (tcsetattr(fd, TCSANOW, &tio) < 0) {
            throw std::system_error(errno, std::generic_category(), "cannot configure the link");
        }
    }
}

}  // namespace

LinkPort::LinkPort(const LinkConfig &config)
    : config_(config), time_(config.clock_offset_ns, config.clock_error_ns, config.clock_time_ns) {
    if (config.n_sensor > RTL_VALUES_MAX || config.n_command > RTL_VALUES_MAX) {
        throw std::invalid_argument("a link carries at most " + std::to_string(RTL_VALUES_MAX) +
                                    " values each way");
    }
    config_.fd = fcntl(config.fd, F_DUPFD_CLOEXEC, 0);
    if (config_.fd < 0) {
        throw std::system_error(errno, std::generic_category(), "cannot duplicate the link");
    }
    try {
        make_non_blocking(config_.fd);
    } catch (...) {
        close(config_.fd);
        throw;
    }
    rtl_frame_decoder_init(&decoder_);

    uint8_t payload[RTL_PAYLOAD_MAX];
    uint8_t frame[RTL_FRAME_MAX + 1] = {0};  // a leading delimiter ends whatever frame was cut
    const rtl_stop stop = {RTL_REASON_HOST_STOP};
    const size_t n =
        append_packet(frame + 1, RTL_TYPE_STOP, payload, rtl_stop_encode(&stop, payload), 0);
    stop_frame_.assign(frame, frame + 1 + n);
}

LinkPort::~LinkPort() {
    close(config_.fd);
}

void LinkPort::rearm() noexcept {
    // What the line still holds is from before arming: its states are history.
    uint8_t bytes[kReadBytes];
    for (int i = 0; i<kReadsToDrain && ::read(config_.fd, bytes, sizeof(bytes))> 0; ++i) {
    }
    rtl_frame_decoder_init(&decoder_);
    last_packet_ns_ = -1;
    sample_time_ns_ = -1;
    report_ = {};
    error_.store(0, std::memory_order_relaxed);
    stopped_.store(false, std::memory_order_release);
}

int64_t LinkPort::read(float *values, int64_t now_ns) noexcept {
    uint8_t bytes[kReadBytes];
    for (int i = 0; i < kReadsPerCycle; ++i) {
        // Never read() an empty line: for a tty the kernel then waits, O_NONBLOCK or not, for the
        // worker that moves received bytes (n_tty_read → tty_buffer_flush_work), and with it for
        // everything that keeps an ordinary thread off the CPU. Measured: 200 ms on a busy machine.
        // Asking first does not wait.
        int available = 0;
        if (ioctl(config_.fd, FIONREAD, &available) < 0) {
            error_.store(errno, std::memory_order_relaxed);
            break;
        }
        if (available == 0) break;
        const ssize_t n = ::read(config_.fd, bytes, sizeof(bytes));
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
        if (n <= 0) {
            error_.store(n == 0 ? ENODEV : errno, std::memory_order_relaxed);
            break;
        }
        for (size_t used = 0; used < static_cast<size_t>(n);) {
            const uint8_t *packet = nullptr;
            size_t size = 0;
            used += rtl_frame_decoder_feed(&decoder_, bytes + used, static_cast<size_t>(n) - used,
                                           &packet, &size);
            if (size > 0) accept(packet, size, now_ns);
        }
        if (static_cast<size_t>(n) < sizeof(bytes)) break;
    }
    if (last_packet_ns_ < 0) last_packet_ns_ = now_ns;
    if (now_ns - last_packet_ns_ > config_.silence_timeout_ns && input_error() == 0) {
        error_.store(ETIMEDOUT, std::memory_order_relaxed);
    }
    time_.advance(now_ns);
    counters_.clock_error_ns.store(time_.error_ns(), std::memory_order_relaxed);
    if (sample_time_ns_ >= 0) {
        std::memcpy(values, sensor_.values, config_.n_sensor * sizeof(float));
    }
    return sample_time_ns_;
}

void LinkPort::accept(const uint8_t *packet, size_t size, int64_t now_ns) noexcept {
    rtl_header header;
    const uint8_t *payload = nullptr;
    size_t payload_size = 0;
    if (rtl_packet_decode(packet, size, &header, &payload, &payload_size) != RTL_OK ||
        header.schema_id != config_.schema_id) {
        counters_.rx_errors.fetch_add(1, std::memory_order_relaxed);
        return;
    }
    counters_.rx_packets.fetch_add(1, std::memory_order_relaxed);
    last_packet_ns_ = now_ns;
    rx_seq_ = header.seq;
    rtl_time_reply time_reply;
    if (header.type == RTL_TYPE_SENSOR) {
        rtl_sensor sensor;
        if (!rtl_sensor_decode(payload, payload_size, &sensor) ||
            sensor.count != config_.n_sensor) {
            counters_.rx_errors.fetch_add(1, std::memory_order_relaxed);
            return;
        }
        sensor_ = sensor;
        sample_time_ns_ = time_.to_host_ns(sensor.sample_time_us, now_ns);
        report_ = {sensor.state, sensor.reasons, sensor.late_commands};
        counters_.device_reasons.store(sensor.reasons, std::memory_order_relaxed);
    } else if (header.type == RTL_TYPE_TIME_REPLY &&
               rtl_time_reply_decode(payload, payload_size, &time_reply)) {
        time_.exchange(static_cast<int64_t>(time_reply.host_ns),
                       static_cast<int64_t>(time_reply.t2_us) * 1000,
                       static_cast<int64_t>(time_reply.t3_us) * 1000, now_ns);
    } else if (header.type == RTL_TYPE_EVENT) {
        counters_.device_events.fetch_add(1, std::memory_order_relaxed);
    }
}

size_t LinkPort::append_packet(uint8_t *out, uint8_t type, const uint8_t *payload, size_t size,
                               int64_t now_ns) noexcept {
    const rtl_header header = {
        0, type, tx_seq_, rx_seq_, config_.schema_id, static_cast<uint32_t>(now_ns / 1000)};
    uint8_t packet[RTL_PACKET_MAX];
    const size_t packet_size = rtl_packet_encode(&header, payload, size, packet);
    ++tx_seq_;
    return rtl_frame_encode(packet, packet_size, out);
}

bool LinkPort::write(const float *values, int64_t now_ns, int64_t deadline_ns) noexcept {
    if (stopped_.load(std::memory_order_acquire)) return false;
    uint8_t bytes[1 + 2 * RTL_FRAME_MAX];
    uint8_t payload[RTL_PAYLOAD_MAX];
    size_t size = 0;
    if (frame_was_cut_) bytes[size++] = 0;

    rtl_command command;
    command.valid_until_us =
        static_cast<uint32_t>(time_.to_device_us(deadline_ns + config_.command_validity_ns));
    command.count = static_cast<uint8_t>(config_.n_command);
    std::memcpy(command.values, values, config_.n_command * sizeof(float));
    size += append_packet(bytes + size, RTL_TYPE_COMMAND, payload,
                          rtl_command_encode(&command, payload), now_ns);
    uint32_t packets = 1;
    if (now_ns - last_time_request_ns_ >= kTimeRequestIntervalNs) {
        last_time_request_ns_ = now_ns;
        const rtl_time_request request = {static_cast<uint64_t>(now_ns)};
        size += append_packet(bytes + size, RTL_TYPE_TIME_REQUEST, payload,
                              rtl_time_request_encode(&request, payload), now_ns);
        packets = 2;
    }

    const ssize_t n = ::write(config_.fd, bytes, size);
    if (n == static_cast<ssize_t>(size)) {
        frame_was_cut_ = false;
        counters_.tx_packets.fetch_add(packets, std::memory_order_relaxed);
        return true;
    }
    if (n > 0) frame_was_cut_ = true;
    if (n < 0 && errno != EAGAIN && errno != EINTR) error_.store(errno, std::memory_order_relaxed);
    counters_.tx_dropped.fetch_add(packets, std::memory_order_relaxed);
    return false;
}

void LinkPort::write_safe() noexcept {
    stopped_.store(true, std::memory_order_release);
    // Best effort by nature: on a dead line the device's own command timeout does the same.
    const ssize_t ignored = ::write(config_.fd, stop_frame_.data(), stop_frame_.size());
    static_cast<void>(ignored);
}

}  // namespace rtloop
