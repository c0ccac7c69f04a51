// What arrives from a device: packets, its newest sample, and what it says of itself.
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "rtloop/core/cycle/clock.hpp"
#include "rtloop/core/ports/link.hpp"

namespace rtloop {

namespace {

// How often the line is looked at between far releases: in that time 4 kB are 800 kB/s.
constexpr int64_t kAttentionNs = 5'000'000;
// The arrival of the reply to a time request counts. The first look for it, and then each time
// twice as long after the request.
constexpr int64_t kFirstLookNs = 300'000;
// Between two looks at a line that has hung up and does not say so when it is read.
constexpr int64_t kBrokenLookNs = 1'000'000;
// 142 years: what is beyond no device has counted, and does not fit in nanoseconds.
constexpr uint64_t kDeviceTimeMaxUs = uint64_t{1} << 52;

// A device's event is recorded by the number that it was sent with, but for the newest.
static_assert(static_cast<int>(PortEventKind::late_command) == RTL_EVENT_LATE_COMMAND);
static_assert(static_cast<int>(PortEventKind::state_change) == RTL_EVENT_STATE_CHANGE);
static_assert(static_cast<int>(PortEventKind::bad_packet) == RTL_EVENT_BAD_PACKET);
static_assert(static_cast<int>(PortEventKind::schema_mismatch) == RTL_EVENT_SCHEMA_MISMATCH);

PortEventKind kind_of(uint8_t device_event) noexcept {
    if (device_event == RTL_EVENT_DEADLINE_MISS) return PortEventKind::deadline_miss;
    const bool is_known =
        device_event >= RTL_EVENT_LATE_COMMAND && device_event <= RTL_EVENT_SCHEMA_MISMATCH;
    return is_known ? static_cast<PortEventKind>(device_event) : PortEventKind::unknown;
}

constexpr float kNoValues = 0.0F;

bool has_lateness(PortEventKind kind) noexcept {
    return kind == PortEventKind::late_command || kind == PortEventKind::deadline_miss;
}

}  // namespace

int64_t LinkPort::attention_ns(int64_t now_ns) const noexcept {
    if (!line_.is_attached()) return std::numeric_limits<int64_t>::max();
    if (!time_reply_is_due_) return last_receive_ns_ + kAttentionNs;
    const int64_t waited_ns = now_ns - last_time_request_ns_;
    return now_ns + std::clamp(waited_ns, kFirstLookNs, kAttentionNs);
}

void LinkPort::attend(int64_t now_ns) noexcept {
    if (line_.is_attached()) receive(now_ns);
}

// What is sent and is no sample wakes it, too. A line that is lost or has failed is always
// readable: there is nothing to wait for but the time.
Sample LinkPort::await_sample(int64_t until_ns) noexcept {
    MonotonicClock clock;
    for (;;) {
        const int64_t now_ns = clock.now();
        if (line_.is_attached() && error_ == 0) receive(now_ns);
        if (sample_is_news_) {
            sample_is_news_ = false;
            return newest_sample();
        }
        if (now_ns >= until_ns) return {};
        if (!line_.is_attached() || error_ != 0) {
            clock.sleep_until(until_ns);
            continue;
        }
        pollfd line = {line_.fd(), POLLIN, 0};
        const timespec left{(until_ns - now_ns) / kNsPerSecond, (until_ns - now_ns) % kNsPerSecond};
        const bool is_ready = ppoll(&line, 1, &left, nullptr) > 0;
        if (is_ready && (line.revents & POLLIN) == 0) clock.sleep_until(now_ns + kBrokenLookNs);
    }
}

void LinkPort::receive(int64_t now_ns) noexcept {
    last_receive_ns_ = now_ns;
    const Wire::Received received = wire_->receive(line_.fd(), *this);
    counters_.rx_errors.fetch_add(received.broken, std::memory_order_relaxed);
    counters_.rx_discarded.fetch_add(received.discarded, std::memory_order_relaxed);
    if (received.refusal != 0) refusal_ = received.refusal;
    if (received.error != 0) error_ = received.error;
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
    const rtl_arrival arrival = follow_sequence(header);
    if (arrival == RTL_ARRIVAL_COPY) return;
    counters_.rx_packets.fetch_add(1, std::memory_order_relaxed);
    if (arrival == RTL_ARRIVAL_OLD) return;
    refusal_ = 0;
    time_.packet_arrived(header.time_us, now_ns);
    rtl_time_reply time_reply;
    rtl_event event;
    rtl_stats stats;
    if (header.type == RTL_TYPE_SENSOR) {
        rtl_sensor sensor;
        if (!rtl_sensor_decode(payload, payload_size, &sensor) ||
            sensor.count != config_.n_sensor) {
            counters_.rx_errors.fetch_add(1, std::memory_order_relaxed);
            return;
        }
        if (!follow_sensors(arrival, header.seq)) return;
        last_sensor_ns_ = now_ns;
        follow_pace(header.time_us);
        sensor_ = sensor;
        sample_time_us_ = time_.widened_us(sensor.sample_time_us, now_ns);
        sample_has_arrived_ = sample_is_news_ = true;
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
        counters_.device_late_commands.store(sensor.late_commands, std::memory_order_relaxed);
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
    } else if (header.type == RTL_TYPE_STATS) {
        if (!rtl_stats_decode(payload, payload_size, &stats)) {
            counters_.rx_errors.fetch_add(1, std::memory_order_relaxed);
            return;
        }
        if (!account_is_due_ || header.ack != account_request_seq_) return;
        account_is_due_ = false;
        account_.write(&kNoValues, stats);
    }
}

// A device numbers all it sends. What was missing is not lost any more when it comes after all.
rtl_arrival LinkPort::follow_sequence(const rtl_header &header) noexcept {
    const uint32_t lost = sequence_.lost;
    const rtl_arrival arrival = rtl_sequence_take(&sequence_, header.seq, header.time_us);
    const bool went_on = sequence_.lost == lost && sequence_.span > 0;
    if (arrival == RTL_ARRIVAL_NEWEST && !went_on) pace_is_known_ = false;
    if (arrival == RTL_ARRIVAL_NEWEST) gap_ += sequence_.lost - lost;
    if (arrival == RTL_ARRIVAL_LATE && gap_ > 0) --gap_;
    counters_.rx_lost.store(sequence_.lost, std::memory_order_relaxed);
    counters_.rx_reordered.store(sequence_.reordered, std::memory_order_relaxed);
    counters_.rx_repeated.store(sequence_.repeated, std::memory_order_relaxed);
    return arrival;
}

// Whether a sample is the newest: one that was overtaken by another sample is not.
bool LinkPort::follow_sensors(rtl_arrival arrival, uint16_t seq) noexcept {
    const bool is_older = static_cast<int16_t>(seq - sensor_seq_) < 0;
    if (arrival != RTL_ARRIVAL_NEWEST && is_older) return false;
    sensor_seq_ = seq;
    return true;
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

void LinkPort::tell_event(const rtl_event &event, int64_t now_ns) noexcept {
    const PortEventKind kind = kind_of(event.event);
    events().add({.time_ns = time_.to_host_ns(time_.widened_us(event.time_us, now_ns)),
                  .lateness_us = has_lateness(kind) ? event.lateness_us : 0,
                  .total = event.total,
                  .device_reasons = event.reasons,
                  .kind = kind,
                  .loop_class = event.loop_class,
                  .device_state = event.state,
                  .device_event = event.event});
}

Sample LinkPort::read(float *values) noexcept {
    Sample sample = newest_sample();
    sample.gap = gap_;
    gap_ = 0;
    sample_is_news_ = false;
    if (sample.time_ns < 0) return sample;
    std::memcpy(values, sensor_.values, config_.n_sensor * sizeof(float));
    return sample;
}

Sample LinkPort::newest_sample() const noexcept {
    if (!line_.is_attached() || !sample_has_arrived_) return sample_before_loss_;
    return {time_.to_host_ns(sample_time_us_), 0, time_.error_ns()};
}

}  // namespace rtloop
