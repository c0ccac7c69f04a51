// The life of a link: armed, lost, attached anew; what is held against its device, what is told.
#include "rtloop/core/ports/link.hpp"

#include <cerrno>
#include <stdexcept>
#include <string>

#include "rtloop/core/cycle/clock.hpp"

namespace rtloop {

namespace {

// How often the estimate of the clock is told, and how often at most where it changes.
constexpr int64_t kClockIntervalNs = 1'000'000'000;
constexpr int64_t kClockShortestIntervalNs = 100'000'000;

LineTerms terms_of(const PortOptions &options) {
    LineTerms terms;
    terms.clock_offset_ns = options.integer("clock_offset_ns");
    terms.clock_error_ns = options.integer("clock_error_ns");
    terms.clock_time_ns = options.integer("clock_time_ns");
    terms.obey_timeout_ns = options.integer("obey_timeout_ns");
    terms.silence_timeout_ns = options.integer("silence_timeout_ns");
    terms.is_armed = options.integer("is_armed") != 0;
    terms.accounts = options.integer("accounts") != 0;
    return terms;
}

TimeMap time_map_of(const LineTerms &terms) {
    return {terms.clock_offset_ns, terms.clock_error_ns, terms.clock_time_ns};
}

LinkConfig config_of(const PortOptions &options) {
    LinkConfig config;
    config.fd = static_cast<int>(options.integer("fd"));
    config.keeps_packets = options.integer("keeps_packets") != 0;
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
    : config_(config),
      line_(config.fd),
      terms_(config.terms),
      wire_(Wire::make(config.keeps_packets)),
      time_(time_map_of(config.terms)) {
    if (config.n_sensor > RTL_VALUES_MAX || config.n_command > RTL_VALUES_MAX) {
        throw std::invalid_argument("a link carries at most " + std::to_string(RTL_VALUES_MAX) +
                                    " values each way");
    }
    uint8_t payload[RTL_PAYLOAD_MAX];
    const rtl_stop stop = {RTL_REASON_HOST_STOP};
    stop_ = packet(RTL_TYPE_STOP, payload, rtl_stop_encode(&stop, payload), 0, 0);
}

LinkPort::~LinkPort() = default;

void LinkPort::rearm() noexcept {
    // What the line still holds is from before arming: its states are history.
    wire_->drain(line_.fd());
    line_.reset();
    forget_device();
    report_ = {};
    sample_has_arrived_ = sample_is_news_ = false;
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
    wire_->forget_received();
    last_sensor_ns_ = -1;
    last_receive_ns_ = 0;
    last_time_request_ns_ = 0;
    last_account_request_ns_ = 0;
    account_is_due_ = false;
    time_reply_is_due_ = false;
    sequence_.newest = 0;
    sequence_.is_known = false;
    sensor_seq_ = 0;  // of another line it would name a sample that this device has not sent
    pace_is_known_ = false;
    report_ = {.device_late_commands = report_.device_late_commands};
    unconfirmed_since_ns_ = -1;
    has_commanded_ = false;
    was_active_ = false;
    is_disobeyed_ = false;
    clock_told_ns_ = -1;
    loss_is_told_ = false;
    refusal_ = 0;
    error_ = 0;
    counters_.device_state.store(0, std::memory_order_relaxed);
    counters_.device_reasons.store(0, std::memory_order_relaxed);
}

// The sample of before is aged by the clock of before.
void LinkPort::attach(const LineTerms &terms) noexcept {
    forget_device();
    sample_has_arrived_ = sample_is_news_ = false;
    wire_->forget_sent();
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
    if (now_ns - last_sensor_ns_ > terms_.silence_timeout_ns && error_ == 0) {
        error_ = refusal_ != 0 ? refusal_ : ETIMEDOUT;
    }
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
            {"rx_reordered", c.rx_reordered.load()},
            {"rx_repeated", c.rx_repeated.load()},
            {"rx_discarded", c.rx_discarded.load()},
            {"tx_packets", c.tx_packets.load()},
            {"tx_seq", tx_seq_.load()},  // of the packet that would come next
            {"tx_dropped", c.tx_dropped.load()},
            {"tx_expired", c.tx_expired.load()},
            {"device_events", c.device_events.load()},
            {"sensor_intervals", c.sensor_intervals.load()},
            {"sensor_interval_ns", c.sensor_interval_ns.load()},
            {"device_state", c.device_state.load()},
            {"device_reasons", c.device_reasons.load()},
            {"device_late_commands", c.device_late_commands.load()},
            {"clock_offset_ns", c.clock_offset_ns.load()},
            {"clock_error_ns", c.clock_error_ns.load()},
            {"clock_skew_ppb", c.clock_skew_ppb.load()},
            {"clock_contradictions", c.clock_contradictions.load()},
            {"losses", line_.losses()},
            {"reconnections", line_.reconnections()},
            {"lost_ns", line_.lost_ns(MonotonicClock().now())}};
}

std::vector<uint8_t> LinkPort::account() {
    const std::optional<rtl_stats> &said = account_.refresh();
    if (!said) return {};
    uint8_t payload[RTL_PAYLOAD_MAX];
    return {payload, payload + rtl_stats_encode(&*said, payload)};
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

}  // namespace rtloop

RTLOOP_PORT_KIND(link, rtloop::LinkPort)
