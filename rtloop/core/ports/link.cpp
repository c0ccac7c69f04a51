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

LinkConfig config_of(const PortOptions &options) {
    LinkConfig config;
    config.fd = static_cast<int>(options.integer("fd"));
    config.schema_id = static_cast<uint16_t>(options.integer("schema_id"));
    config.n_sensor = static_cast<uint32_t>(options.integer("n_sensor"));
    config.n_command = static_cast<uint32_t>(options.integer("n_command"));
    config.clock_offset_ns = options.integer("clock_offset_ns");
    config.clock_error_ns = options.integer("clock_error_ns");
    config.clock_time_ns = options.integer("clock_time_ns");
    config.command_validity_ns = options.integer("command_validity_ns");
    config.silence_timeout_ns = options.integer("silence_timeout_ns");
    return config;
}

}  // namespace

LinkPort::LinkPort(const PortOptions &options) : LinkPort(config_of(options)) {}

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
        append_packet(frame + 1, RTL_TYPE_STOP, payload, rtl_stop_encode(&stop, payload), 0, 0);
    stop_frame_.assign(frame, frame + 1 + n);
}

LinkPort::~LinkPort() {
    close(config_.fd);
}

void LinkPort::rearm() noexcept {
    // What the line still holds is from before arming: its states are history.
    uint8_t bytes[kReadBytes];
    for (int i = 0; i < kReadsToDrain; ++i) {
        if (::read(config_.fd, bytes, sizeof(bytes)) <= 0) break;
    }
    rtl_frame_decoder_init(&decoder_);
    last_packet_ns_ = -1;
    sample_time_ns_ = -1;
    rx_seq_is_known_ = false;
    gap_ = 0;
    report_ = {};
    device_was_armed_ = false;
    error_ = 0;
    stopped_.store(false, std::memory_order_release);
}

void LinkPort::poll(int64_t now_ns) noexcept {
    receive(now_ns);
    if (last_packet_ns_ < 0) last_packet_ns_ = now_ns;
    if (now_ns - last_packet_ns_ > config_.silence_timeout_ns && error_ == 0) error_ = ETIMEDOUT;
    time_.advance(now_ns);
    counters_.clock_error_ns.store(time_.error_ns(), std::memory_order_relaxed);
}

void LinkPort::receive(int64_t now_ns) noexcept {
    uint8_t bytes[kReadBytes];
    for (int i = 0; i < kReadsPerCycle; ++i) {
        // Never read() an empty line: for a tty the kernel then waits, O_NONBLOCK or not, for the
        // worker that moves received bytes (n_tty_read → tty_buffer_flush_work), and with it for
        // everything that keeps an ordinary thread off the CPU. Measured: 200 ms on a busy machine.
        // Asking first does not wait.
        int available = 0;
        if (ioctl(config_.fd, FIONREAD, &available) < 0) {
            error_ = errno;
            return;
        }
        if (available == 0) return;
        const ssize_t n = ::read(config_.fd, bytes, sizeof(bytes));
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n <= 0) {
            error_ = n == 0 ? ENODEV : errno;
            return;
        }
        for (size_t used = 0; used < static_cast<size_t>(n);) {
            const uint8_t *packet = nullptr;
            size_t size = 0;
            used += rtl_frame_decoder_feed(&decoder_, bytes + used, static_cast<size_t>(n) - used,
                                           &packet, &size);
            if (size > 0) accept(packet, size, now_ns);
        }
        if (static_cast<size_t>(n) < sizeof(bytes)) return;
    }
}

Sample LinkPort::read(float *values) noexcept {
    const Sample sample{sample_time_ns_, gap_};
    gap_ = 0;
    if (sample_time_ns_ >= 0) {
        std::memcpy(values, sensor_.values, config_.n_sensor * sizeof(float));
    }
    return sample;
}

PortReport LinkPort::report() const noexcept {
    PortReport report = report_;
    report.error = error_;
    if (error_ != 0) {
        report.fault = FaultReason::port_error;
    } else if (device_was_armed_ && report.device_state == RTL_STATE_SAFE) {
        report.fault = FaultReason::device_safe;
    }
    return report;
}

std::vector<std::pair<std::string, int64_t>> LinkPort::counters() const {
    const LinkCounters &c = counters_;
    return {{"rx_packets", c.rx_packets.load()},
            {"rx_errors", c.rx_errors.load()},
            {"rx_lost", c.rx_lost.load()},
            {"tx_packets", c.tx_packets.load()},
            {"tx_dropped", c.tx_dropped.load()},
            {"device_events", c.device_events.load()},
            {"device_reasons", c.device_reasons.load()},
            {"clock_error_ns", c.clock_error_ns.load()}};
}

// A device numbers all it sends. A number that goes back is a device that began anew.
void LinkPort::follow_sequence(uint16_t seq) noexcept {
    const auto missing = static_cast<uint16_t>(seq - rx_seq_ - 1);
    if (rx_seq_is_known_ && missing < 0x8000) {
        gap_ += missing;
        counters_.rx_lost.fetch_add(missing, std::memory_order_relaxed);
    }
    rx_seq_ = seq;
    rx_seq_is_known_ = true;
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
    follow_sequence(header.seq);
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
        report_.device_state = sensor.state;
        report_.device_reasons = sensor.reasons;
        report_.device_late_commands = sensor.late_commands;
        device_was_armed_ |= sensor.state == RTL_STATE_ARMED || sensor.state == RTL_STATE_ACTIVE;
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
                               uint16_t ack, int64_t now_ns) noexcept {
    const rtl_header header = {0,
                               type,
                               tx_seq_.fetch_add(1, std::memory_order_relaxed),
                               ack,
                               config_.schema_id,
                               static_cast<uint32_t>(now_ns / 1000)};
    uint8_t packet[RTL_PACKET_MAX];
    const size_t packet_size = rtl_packet_encode(&header, payload, size, packet);
    return rtl_frame_encode(packet, packet_size, out);
}

rtl_command LinkPort::command_of(const float *values, int64_t, int64_t deadline_ns) const noexcept {
    rtl_command command{};
    command.valid_until_us =
        static_cast<uint32_t>(time_.to_device_us(deadline_ns + config_.command_validity_ns));
    command.count = static_cast<uint8_t>(config_.n_command);
    std::memcpy(command.values, values, config_.n_command * sizeof(float));
    return command;
}

bool LinkPort::write(const float *values, int64_t now_ns, int64_t deadline_ns) noexcept {
    if (stopped_.load(std::memory_order_acquire)) return false;
    uint8_t bytes[1 + 2 * RTL_FRAME_MAX];
    uint8_t payload[RTL_PAYLOAD_MAX];
    size_t size = 0;
    if (frame_was_cut_) bytes[size++] = 0;

    const rtl_command command = command_of(values, now_ns, deadline_ns);
    size += append_packet(bytes + size, RTL_TYPE_COMMAND, payload,
                          rtl_command_encode(&command, payload), rx_seq_, now_ns);
    const size_t command_size = size;
    uint32_t packets = 1;
    if (now_ns - last_time_request_ns_ >= kTimeRequestIntervalNs) {
        last_time_request_ns_ = now_ns;
        const rtl_time_request request = {static_cast<uint64_t>(now_ns)};
        size += append_packet(bytes + size, RTL_TYPE_TIME_REQUEST, payload,
                              rtl_time_request_encode(&request, payload), rx_seq_, now_ns);
        packets = 2;
    }

    const ssize_t n = ::write(config_.fd, bytes, size);
    if (n < 0 && errno != EAGAIN && errno != EINTR) error_ = errno;
    const size_t sent = n > 0 ? static_cast<size_t>(n) : 0;
    const uint32_t left = sent == size ? packets : sent >= command_size ? 1 : 0;
    // The delimiter that ends a cut frame is the first byte of the next one.
    if (sent > 0) frame_was_cut_ = sent != size && sent != command_size;
    counters_.tx_packets.fetch_add(left, std::memory_order_relaxed);
    counters_.tx_dropped.fetch_add(packets - left, std::memory_order_relaxed);
    return left > 0;
}

// The clock and the numbers of what was received are the loop's: all that depends on them is done
// here. It leaves at the deadline.
void LinkPort::prepare_default(const float *values, int64_t deadline_ns) noexcept {
    default_ = command_of(values, deadline_ns, deadline_ns);
    default_ack_ = rx_seq_;
}

bool LinkPort::write_default(int64_t now_ns) noexcept {
    if (stopped_.load(std::memory_order_acquire)) return false;
    uint8_t bytes[1 + RTL_FRAME_MAX];
    uint8_t payload[RTL_PAYLOAD_MAX];
    size_t size = 0;
    if (frame_was_cut_) bytes[size++] = 0;
    size += append_packet(bytes + size, RTL_TYPE_COMMAND, payload,
                          rtl_command_encode(&default_, payload), default_ack_, now_ns);
    // A line that is gone shows in the loop's own calls.
    const ssize_t n = ::write(config_.fd, bytes, size);
    const bool left = n == static_cast<ssize_t>(size);
    if (n > 0) frame_was_cut_ = !left;
    (left ? counters_.tx_packets : counters_.tx_dropped).fetch_add(1, std::memory_order_relaxed);
    // Beside it the loop may have ended: STOP is the last packet on the line.
    if (stopped_.load(std::memory_order_acquire)) write_safe();
    return left;
}

void LinkPort::write_safe() noexcept {
    stopped_.store(true, std::memory_order_release);
    // Best effort by nature: on a dead line the device's own command timeout does the same.
    const ssize_t ignored = ::write(config_.fd, stop_frame_.data(), stop_frame_.size());
    static_cast<void>(ignored);
}

}  // namespace rtloop

RTLOOP_PORT_KIND(link, rtloop::LinkPort)
