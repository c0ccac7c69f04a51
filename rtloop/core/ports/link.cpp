#include "rtloop/core/ports/link.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "rtloop/core/cycle/clock.hpp"

namespace rtloop {

namespace {

constexpr int64_t kTimeRequestIntervalNs = 100'000'000;
// A tty hands out at most so much at once.
constexpr size_t kReadBytes = 4096;
// What a poll looks at: more than the line of a device that keeps its rate ever holds. What is
// beyond is a flood; it is skipped, up to its end or to this bound, and its last bytes are looked
// at again: they hold the newest sample.
constexpr int kReadsLookedAt = 4;
constexpr int kReadsSkipped = 64;
// How often the line is looked at between far releases: in that time 4 kB are 800 kB/s.
constexpr int64_t kAttentionNs = 5'000'000;
// The arrival of the reply to a time request counts. The first look for it, and then each time
// twice as long after the request.
constexpr int64_t kFirstLookNs = 300'000;
constexpr int kReadsToDrain = 256;
// 142 years: what is beyond no device has counted, and does not fit in nanoseconds.
constexpr uint64_t kDeviceTimeMaxUs = uint64_t{1} << 52;
// How often the estimate of the clock is told, and how often at most where it changes.
constexpr int64_t kClockIntervalNs = 1'000'000'000;
constexpr int64_t kClockShortestIntervalNs = 100'000'000;

// A device's event is recorded by the number that it was sent with.
static_assert(static_cast<int>(PortEventKind::late_command) == RTL_EVENT_LATE_COMMAND);
static_assert(static_cast<int>(PortEventKind::state_change) == RTL_EVENT_STATE_CHANGE);
static_assert(static_cast<int>(PortEventKind::bad_packet) == RTL_EVENT_BAD_PACKET);
static_assert(static_cast<int>(PortEventKind::schema_mismatch) == RTL_EVENT_SCHEMA_MISMATCH);

LineTerms terms_of(const PortOptions &options) {
    LineTerms terms;
    terms.clock_offset_ns = options.integer("clock_offset_ns");
    terms.clock_error_ns = options.integer("clock_error_ns");
    terms.clock_time_ns = options.integer("clock_time_ns");
    terms.obey_timeout_ns = options.integer("obey_timeout_ns");
    terms.silence_timeout_ns = options.integer("silence_timeout_ns");
    terms.is_armed = options.integer("is_armed") != 0;
    return terms;
}

TimeMap time_map_of(const LineTerms &terms) {
    return {terms.clock_offset_ns, terms.clock_error_ns, terms.clock_time_ns};
}

LinkConfig config_of(const PortOptions &options) {
    LinkConfig config;
    config.fd = static_cast<int>(options.integer("fd"));
    config.schema_id = static_cast<uint16_t>(options.integer("schema_id"));
    config.n_sensor = static_cast<uint32_t>(options.integer("n_sensor"));
    config.n_command = static_cast<uint32_t>(options.integer("n_command"));
    config.command_validity_ns = options.integer("command_validity_ns");
    config.command_timeout_ns = options.integer("command_timeout_ns");
    config.reconnects = options.integer("reconnects") != 0;
    config.terms = terms_of(options);
    return config;
}

}  // namespace

LinkPort::LinkPort(const PortOptions &options) : LinkPort(config_of(options)) {}

LinkPort::LinkPort(const LinkConfig &config)
    : config_(config), line_(config.fd), terms_(config.terms), time_(time_map_of(config.terms)) {
    if (config.n_sensor > RTL_VALUES_MAX || config.n_command > RTL_VALUES_MAX) {
        throw std::invalid_argument("a link carries at most " + std::to_string(RTL_VALUES_MAX) +
                                    " values each way");
    }
    rtl_frame_decoder_init(&decoder_);

    uint8_t payload[RTL_PAYLOAD_MAX];
    uint8_t frame[RTL_FRAME_MAX + 1] = {0};  // a leading delimiter ends whatever frame was cut
    const rtl_stop stop = {RTL_REASON_HOST_STOP};
    const size_t n =
        append_packet(frame + 1, RTL_TYPE_STOP, payload, rtl_stop_encode(&stop, payload), 0, 0);
    stop_frame_.assign(frame, frame + 1 + n);
}

LinkPort::~LinkPort() = default;

void LinkPort::rearm() noexcept {
    // What the line still holds is from before arming: its states are history.
    uint8_t bytes[kReadBytes];
    for (int i = 0; i < kReadsToDrain; ++i) {
        if (::read(line_.fd(), bytes, sizeof(bytes)) <= 0) break;
    }
    line_.reset();
    forget_device();
    report_ = {};
    sample_has_arrived_ = false;
    sample_before_loss_ = {};
    gap_ = 0;
    paced_us_ = 0;
    counters_.sensor_intervals.store(0, std::memory_order_relaxed);
    counters_.sensor_interval_ns.store(0, std::memory_order_relaxed);
    stopped_.store(false);
}

// Nothing that a device has said or was told counts any more, but its newest sample, and what it
// has counted: that of one that comes back goes on from there, and zero in between would be a step.
void LinkPort::forget_device() noexcept {
    rtl_frame_decoder_init(&decoder_);
    last_sensor_ns_ = -1;
    last_receive_ns_ = 0;
    last_time_request_ns_ = 0;
    time_reply_is_due_ = false;
    rx_seq_is_known_ = false;
    pace_is_known_ = false;
    report_ = {.device_late_commands = report_.device_late_commands};
    unconfirmed_since_ns_ = -1;
    has_commanded_ = false;
    was_active_ = false;
    is_disobeyed_ = false;
    clock_told_ns_ = -1;
    loss_is_told_ = false;
    error_ = 0;
    counters_.device_state.store(0, std::memory_order_relaxed);
    counters_.device_reasons.store(0, std::memory_order_relaxed);
}

// The sample of before is aged by the clock of before.
void LinkPort::attach(const LineTerms &terms) noexcept {
    forget_device();
    sample_has_arrived_ = false;
    frame_was_cut_ = false;
    terms_ = terms;
    time_ = time_map_of(terms);
}

// One that reconnects goes on without its device.
void LinkPort::judge_line(int64_t now_ns) noexcept {
    if (error_ == 0 || loss_is_told_) return;
    loss_is_told_ = true;
    tell(PortEventKind::lost, now_ns);
    if (!config_.reconnects) return;
    sample_before_loss_ = newest_sample();
    line_.lose(error_, now_ns);
    tell(PortEventKind::reconnecting, now_ns);
    forget_device();
}

void LinkPort::judge_loss(int64_t now_ns) noexcept {
    if (line_.given_up_for() == FaultReason::none || loss_is_told_) return;
    loss_is_told_ = true;
    tell(PortEventKind::gave_up, now_ns);
}

void LinkPort::tell(PortEventKind kind, int64_t now_ns) noexcept {
    events().add({.time_ns = now_ns,
                  .error = line_.is_attached() ? error_ : line_.error(),
                  .kind = kind,
                  .device_state = report_.device_state});
}

void LinkPort::reconnect(const PortOptions &options) {
    line_.offer(static_cast<int>(options.integer("fd")), terms_of(options));
    // The loop may have ended meanwhile, with its STOP on no line: it is the last packet on this.
    if (stopped_.load()) write_safe();
}

void LinkPort::poll(int64_t now_ns) noexcept {
    if (const LineTerms *terms = line_.take(now_ns)) {
        attach(*terms);
        tell(PortEventKind::reconnected, now_ns);
        if (!terms->is_armed) tell(PortEventKind::not_armed, now_ns);
    }
    if (!line_.is_attached()) {
        judge_loss(now_ns);
        return;
    }
    receive(now_ns);
    if (last_sensor_ns_ < 0) last_sensor_ns_ = now_ns;
    if (now_ns - last_sensor_ns_ > terms_.silence_timeout_ns && error_ == 0) error_ = ETIMEDOUT;
    // A SAFE device says so itself. What has just been received has been looked at.
    is_disobeyed_ |= terms_.obey_timeout_ns > 0 && unconfirmed_since_ns_ >= 0 &&
                     report_.device_state != RTL_STATE_SAFE &&
                     now_ns - unconfirmed_since_ns_ > terms_.obey_timeout_ns;
    time_.advance(now_ns);
    counters_.clock_offset_ns.store(time_.offset_ns(), std::memory_order_relaxed);
    counters_.clock_error_ns.store(time_.error_ns(), std::memory_order_relaxed);
    counters_.clock_skew_ppb.store(time_.skew_ppb(), std::memory_order_relaxed);
    counters_.clock_contradictions.store(time_.contradictions(), std::memory_order_relaxed);
    tell_clock(now_ns);
    judge_line(now_ns);
}

// A loop that holds, or that only reads, sends nothing for a time request to go with; without one
// the bound of the clock grows, until every sample is stale for it.
void LinkPort::keep_up(int64_t now_ns) noexcept {
    if (last_time_request_ns_ == 0) last_time_request_ns_ = now_ns - kTimeRequestIntervalNs;
    if (now_ns - last_time_request_ns_ < 2 * kTimeRequestIntervalNs) return;
    if (stopped_.load(std::memory_order_acquire) || !line_.is_attached()) return;
    send(nullptr, now_ns);
}

int64_t LinkPort::attention_ns(int64_t now_ns) const noexcept {
    if (!line_.is_attached()) return std::numeric_limits<int64_t>::max();
    if (!time_reply_is_due_) return last_receive_ns_ + kAttentionNs;
    const int64_t waited_ns = now_ns - last_time_request_ns_;
    return now_ns + std::clamp(waited_ns, kFirstLookNs, kAttentionNs);
}

void LinkPort::attend(int64_t now_ns) noexcept {
    if (line_.is_attached()) receive(now_ns);
}

// At its end the newest sample that had arrived is there, whatever else came before it.
void LinkPort::receive(int64_t now_ns) noexcept {
    uint8_t bytes[kReadBytes];
    last_receive_ns_ = now_ns;
    for (int i = 0; i < kReadsLookedAt; ++i) {
        const size_t n = receive_some(bytes);
        if (n == 0) return;
        decode(bytes, n);
    }
    // A flood. Of what follows the last bytes are kept, which hold a whole packet.
    static_assert(kReadBytes > 2 * RTL_FRAME_MAX);
    size_t kept = 0;
    for (int i = 0; i < kReadsSkipped; ++i) {
        uint8_t more[kReadBytes];
        const size_t n = receive_some(more);
        if (n == 0) break;
        const size_t old = std::min(kept, kReadBytes - n);
        std::memmove(bytes, bytes + kept - old, old);
        std::memcpy(bytes + old, more, n);
        counters_.rx_discarded.fetch_add(static_cast<uint32_t>(kept - old),
                                         std::memory_order_relaxed);
        kept = old + n;
    }
    if (kept == 0) return;
    // Bytes may be missing before these: begin at a delimiter.
    const void *const delimiter = std::memchr(bytes, 0, kept);
    if (delimiter == nullptr) return;
    const auto skipped = static_cast<size_t>(static_cast<const uint8_t *>(delimiter) - bytes);
    rtl_frame_decoder_init(&decoder_);
    decode(bytes + skipped, kept - skipped);
}

// 0: nothing more is there, or the line is gone.
size_t LinkPort::receive_some(uint8_t *bytes) noexcept {
    // Never read() an empty line: for a tty the kernel then waits, O_NONBLOCK or not, for the
    // worker that moves received bytes (n_tty_read → tty_buffer_flush_work), and with it for
    // everything that keeps an ordinary thread off the CPU. Measured: 200 ms on a busy machine.
    // Asking first does not wait.
    int available = 0;
    if (ioctl(line_.fd(), FIONREAD, &available) < 0) {
        error_ = errno;
        return 0;
    }
    if (available == 0) return 0;
    const ssize_t n = ::read(line_.fd(), bytes, kReadBytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (n <= 0) {
        error_ = n == 0 ? ENODEV : errno;
        return 0;
    }
    return static_cast<size_t>(n);
}

void LinkPort::decode(const uint8_t *bytes, size_t n) noexcept {
    // Now, not when the cycle began: what has just been read may have arrived since, and no packet
    // may seem to have arrived before it was sent.
    const int64_t now_ns = MonotonicClock().now();
    const uint32_t errors = decoder_.errors;
    for (size_t used = 0; used < n;) {
        const uint8_t *packet = nullptr;
        size_t size = 0;
        used += rtl_frame_decoder_feed(&decoder_, bytes + used, n - used, &packet, &size);
        if (size > 0) accept(packet, size, now_ns);
    }
    counters_.rx_errors.fetch_add(decoder_.errors - errors, std::memory_order_relaxed);
}

Sample LinkPort::read(float *values) noexcept {
    Sample sample = newest_sample();
    sample.gap = gap_;
    gap_ = 0;
    if (sample.time_ns < 0) return sample;
    std::memcpy(values, sensor_.values, config_.n_sensor * sizeof(float));
    return sample;
}

Sample LinkPort::newest_sample() const noexcept {
    if (!line_.is_attached() || !sample_has_arrived_) return sample_before_loss_;
    return {time_.to_host_ns(sample_time_us_), 0, time_.error_ns()};
}

PortReport LinkPort::report() const noexcept {
    PortReport report = report_;
    report.is_lost = !line_.is_attached();
    report.error = report.is_lost ? line_.error() : error_;
    if (report.is_lost) {
        if (loss_is_told_) report.fault = line_.given_up_for();
    } else if (error_ != 0) {
        report.fault = FaultReason::port_error;
    } else if (report.device_state == RTL_STATE_SAFE && terms_.is_armed) {
        report.fault = FaultReason::device_safe;
    } else if (is_disobeyed_) {
        report.fault = FaultReason::not_obeyed;
    }
    return report;
}

std::vector<std::pair<std::string, int64_t>> LinkPort::counters() const {
    const LinkCounters &c = counters_;
    return {{"rx_packets", c.rx_packets.load()},
            {"rx_errors", c.rx_errors.load()},
            {"rx_lost", c.rx_lost.load()},
            {"rx_discarded", c.rx_discarded.load()},
            {"tx_packets", c.tx_packets.load()},
            {"tx_dropped", c.tx_dropped.load()},
            {"tx_expired", c.tx_expired.load()},
            {"device_events", c.device_events.load()},
            {"sensor_intervals", c.sensor_intervals.load()},
            {"sensor_interval_ns", c.sensor_interval_ns.load()},
            {"device_state", c.device_state.load()},
            {"device_reasons", c.device_reasons.load()},
            {"clock_offset_ns", c.clock_offset_ns.load()},
            {"clock_error_ns", c.clock_error_ns.load()},
            {"clock_skew_ppb", c.clock_skew_ppb.load()},
            {"clock_contradictions", c.clock_contradictions.load()},
            {"losses", line_.losses()},
            {"reconnections", line_.reconnections()},
            {"lost_ns", line_.lost_ns(MonotonicClock().now())}};
}

// A device numbers all it sends. A number that goes back is a device that began anew.
void LinkPort::follow_sequence(uint16_t seq) noexcept {
    const auto missing = static_cast<uint16_t>(seq - rx_seq_ - 1);
    if (missing != 0) pace_is_known_ = false;
    if (rx_seq_is_known_ && missing < 0x8000) {
        gap_ += missing;
        counters_.rx_lost.fetch_add(missing, std::memory_order_relaxed);
    }
    rx_seq_ = seq;
    rx_seq_is_known_ = true;
}

// At which rate the device itself sends, whatever was lost on the way or not looked at.
void LinkPort::follow_pace(uint32_t sent_us) noexcept {
    const int64_t interval_us = rtl_time_difference_us(sent_us, paced_since_us_);
    if (pace_is_known_ && interval_us >= 0) {
        paced_us_ += interval_us;
        const int64_t n = counters_.sensor_intervals.load(std::memory_order_relaxed) + 1;
        counters_.sensor_intervals.store(n, std::memory_order_relaxed);
        counters_.sensor_interval_ns.store(paced_us_ * 1000 / n, std::memory_order_relaxed);
    }
    paced_since_us_ = sent_us;
    pace_is_known_ = true;
}

// What an ACTIVE device says to have applied last, if we have sent it, and after what it said
// before, confirms everything up to it.
void LinkPort::follow_commands(const rtl_sensor &sensor, int64_t now_ns) noexcept {
    if (!has_commanded_ || sensor.state != RTL_STATE_ACTIVE) return;
    const auto ahead = static_cast<uint16_t>(sensor.command_seq - confirmed_seq_);
    const auto sent =
        static_cast<uint16_t>(tx_seq_.load(std::memory_order_relaxed) - 1 - confirmed_seq_);
    if (ahead == 0 || ahead > sent) return;
    const auto newest = static_cast<uint16_t>(newest_command_seq_ - confirmed_seq_);
    if (unconfirmed_since_ns_ >= 0) unconfirmed_since_ns_ = ahead < newest ? now_ns : -1;
    if (ahead >= newest) newest_command_seq_ = sensor.command_seq;
    confirmed_seq_ = sensor.command_seq;
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
    follow_sequence(header.seq);
    time_.packet_arrived(header.time_us, now_ns);
    rtl_time_reply time_reply;
    rtl_event event;
    if (header.type == RTL_TYPE_SENSOR) {
        rtl_sensor sensor;
        if (!rtl_sensor_decode(payload, payload_size, &sensor) ||
            sensor.count != config_.n_sensor) {
            counters_.rx_errors.fetch_add(1, std::memory_order_relaxed);
            return;
        }
        last_sensor_ns_ = now_ns;
        follow_pace(header.time_us);
        sensor_ = sensor;
        sample_time_us_ = time_.widened_us(sensor.sample_time_us, now_ns);
        sample_has_arrived_ = true;
        report_.device_state = sensor.state;
        report_.device_reasons = sensor.reasons;
        report_.device_late_commands = sensor.late_commands;
        follow_commands(sensor, now_ns);
        // From ACTIVE a device goes to SAFE and nowhere else: this one has begun anew.
        was_active_ |= sensor.state == RTL_STATE_ACTIVE;
        is_disobeyed_ |= terms_.obey_timeout_ns > 0 && was_active_ &&
                         sensor.state != RTL_STATE_ACTIVE && sensor.state != RTL_STATE_SAFE;
        counters_.device_state.store(sensor.state, std::memory_order_relaxed);
        counters_.device_reasons.store(sensor.reasons, std::memory_order_relaxed);
    } else if (header.type == RTL_TYPE_TIME_REPLY &&
               rtl_time_reply_decode(payload, payload_size, &time_reply)) {
        // Only the answer to our newest question: what else comes was asked by nobody, or is old.
        if (static_cast<int64_t>(time_reply.host_ns) != last_time_request_ns_) return;
        if (time_reply.t2_us > time_reply.t3_us || time_reply.t3_us > kDeviceTimeMaxUs) {
            counters_.rx_errors.fetch_add(1, std::memory_order_relaxed);
            return;
        }
        time_reply_is_due_ = false;
        time_.request_arrived(last_time_request_ns_, static_cast<int64_t>(time_reply.t2_us),
                              now_ns);
    } else if (header.type == RTL_TYPE_EVENT) {
        if (!rtl_event_decode(payload, payload_size, &event)) {
            counters_.rx_errors.fetch_add(1, std::memory_order_relaxed);
            return;
        }
        counters_.device_events.fetch_add(1, std::memory_order_relaxed);
        tell_event(event, now_ns);
    }
}

void LinkPort::tell_event(const rtl_event &event, int64_t now_ns) noexcept {
    const bool is_known =
        event.event >= RTL_EVENT_LATE_COMMAND && event.event <= RTL_EVENT_SCHEMA_MISMATCH;
    events().add(
        {.time_ns = time_.to_host_ns(time_.widened_us(event.time_us, now_ns)),
         .lateness_us = event.event == RTL_EVENT_LATE_COMMAND ? event.lateness_us : 0,
         .total = event.total,
         .device_reasons = event.reasons,
         .kind = is_known ? static_cast<PortEventKind>(event.event) : PortEventKind::unknown,
         .loop_class = event.loop_class,
         .device_state = event.state,
         .device_event = event.event});
}

void LinkPort::tell_clock(int64_t now_ns) noexcept {
    const int64_t error_ns = time_.error_ns();
    const uint32_t contradictions = time_.contradictions();
    const bool has_changed = error_ns > 2 * told_error_ns_ || told_error_ns_ > 2 * error_ns ||
                             contradictions != told_contradictions_;
    const int64_t due_ns =
        clock_told_ns_ + (has_changed ? kClockShortestIntervalNs : kClockIntervalNs);
    if (clock_told_ns_ >= 0 && now_ns < due_ns) return;
    clock_told_ns_ = now_ns;
    told_error_ns_ = error_ns;
    told_contradictions_ = contradictions;
    events().add({.time_ns = now_ns,
                  .clock_offset_ns = time_.offset_ns(),
                  .clock_error_ns = error_ns,
                  .clock_skew_ppb = static_cast<int32_t>(time_.skew_ppb()),
                  .total = contradictions,
                  .device_state = report_.device_state});
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

int64_t LinkPort::valid_until_ns(int64_t now_ns, int64_t deadline_ns) const noexcept {
    // The device refuses what is valid for longer than its timeout, by its own clock.
    return std::min(deadline_ns + config_.command_validity_ns,
                    now_ns + config_.command_timeout_ns - time_.error_ns());
}

rtl_command LinkPort::command_of(const float *values, int64_t valid_until_ns) const noexcept {
    rtl_command command{};
    command.valid_until_us = static_cast<uint32_t>(time_.to_device_us(valid_until_ns));
    command.count = static_cast<uint8_t>(config_.n_command);
    std::memcpy(command.values, values, config_.n_command * sizeof(float));
    return command;
}

bool LinkPort::write(const float *values, int64_t now_ns, int64_t deadline_ns) noexcept {
    if (stopped_.load(std::memory_order_acquire) || !line_.is_attached()) return false;
    const int64_t valid_until_ns = this->valid_until_ns(now_ns, deadline_ns);
    // By the host's clock, in which the command was meant. The error of the device's does not count
    // here: it may be longer than a period, and the device be right all the same.
    const bool is_valid = now_ns <= valid_until_ns;
    if (!is_valid) counters_.tx_expired.fetch_add(1, std::memory_order_relaxed);
    if (!terms_.is_armed || !is_valid) {
        send(nullptr, now_ns);
        return false;
    }
    const rtl_command command = command_of(values, valid_until_ns);
    return send(&command, now_ns);
}

// Returns whether the command, if there is one, has left. What else is due goes with it.
bool LinkPort::send(const rtl_command *command, int64_t now_ns) noexcept {
    uint8_t bytes[1 + 2 * RTL_FRAME_MAX];
    uint8_t payload[RTL_PAYLOAD_MAX];
    size_t size = 0;
    if (frame_was_cut_) bytes[size++] = 0;

    uint32_t packets = 0;
    const uint16_t command_seq = tx_seq_.load(std::memory_order_relaxed);
    if (command != nullptr) {
        size += append_packet(bytes + size, RTL_TYPE_COMMAND, payload,
                              rtl_command_encode(command, payload), rx_seq_, now_ns);
        ++packets;
    }
    const size_t command_size = size;
    if (now_ns - last_time_request_ns_ >= kTimeRequestIntervalNs) {
        last_time_request_ns_ = now_ns;
        time_reply_is_due_ = true;
        const rtl_time_request request = {static_cast<uint64_t>(now_ns)};
        size += append_packet(bytes + size, RTL_TYPE_TIME_REQUEST, payload,
                              rtl_time_request_encode(&request, payload), rx_seq_, now_ns);
        ++packets;
    }
    if (packets == 0) return false;

    const ssize_t n = ::write(line_.fd(), bytes, size);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        error_ = errno;
        judge_line(now_ns);
    }
    const size_t sent = n > 0 ? static_cast<size_t>(n) : 0;
    const uint32_t left = sent == size ? packets : sent >= command_size ? packets - 1 : 0;
    // The delimiter that ends a cut frame is the first byte of the next one.
    if (sent > 0) frame_was_cut_ = sent != size && sent != command_size;
    counters_.tx_packets.fetch_add(left, std::memory_order_relaxed);
    counters_.tx_dropped.fetch_add(packets - left, std::memory_order_relaxed);
    if (command == nullptr || sent < command_size) return false;
    if (!has_commanded_) confirmed_seq_ = static_cast<uint16_t>(command_seq - 1);
    has_commanded_ = true;
    newest_command_seq_ = command_seq;
    if (unconfirmed_since_ns_ < 0) unconfirmed_since_ns_ = now_ns;
    return true;
}

// The clock and the numbers of what was received are the loop's: all that depends on them is done
// here. It leaves at the deadline.
void LinkPort::prepare_default(const float *values, int64_t deadline_ns) noexcept {
    default_valid_until_ns_ = valid_until_ns(deadline_ns, deadline_ns);
    default_ = command_of(values, default_valid_until_ns_);
    default_ack_ = rx_seq_;
    default_line_ = line_.number();
}

bool LinkPort::write_default(int64_t now_ns) noexcept {
    const bool may_leave = line_.begin_sending(default_line_) && terms_.is_armed;
    const bool left = may_leave && send_default(now_ns);
    line_.end_sending();
    return left;
}

bool LinkPort::send_default(int64_t now_ns) noexcept {
    if (stopped_.load(std::memory_order_acquire)) return false;
    if (now_ns > default_valid_until_ns_) {
        counters_.tx_expired.fetch_add(1, std::memory_order_relaxed);
        return false;
    }
    uint8_t bytes[1 + RTL_FRAME_MAX];
    uint8_t payload[RTL_PAYLOAD_MAX];
    size_t size = 0;
    if (frame_was_cut_) bytes[size++] = 0;
    size += append_packet(bytes + size, RTL_TYPE_COMMAND, payload,
                          rtl_command_encode(&default_, payload), default_ack_, now_ns);
    // A line that is gone shows in the loop's own calls.
    const ssize_t n = ::write(line_.fd(), bytes, size);
    const bool left = n == static_cast<ssize_t>(size);
    if (n > 0) frame_was_cut_ = !left;
    (left ? counters_.tx_packets : counters_.tx_dropped).fetch_add(1, std::memory_order_relaxed);
    // Beside it the loop may have ended: STOP is the last packet on the line.
    if (stopped_.load(std::memory_order_acquire)) write_safe();
    return left;
}

void LinkPort::write_safe() noexcept {
    stopped_.store(true);
    // Best effort by nature: on a dead line the device's own command timeout does the same.
    const ssize_t ignored = ::write(line_.fd(), stop_frame_.data(), stop_frame_.size());
    static_cast<void>(ignored);
}

}  // namespace rtloop

RTLOOP_PORT_KIND(link, rtloop::LinkPort)
