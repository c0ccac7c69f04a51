// What leaves to a device: commands, requests for its time, and STOP, from loop and guard.
#include <algorithm>
#include <cstring>

#include "rtloop/core/ports/link.hpp"

namespace rtloop {

namespace {

constexpr int64_t kTimeRequestIntervalNs = 100'000'000;
constexpr int64_t kAccountRequestIntervalNs = 1'000'000'000;

}  // namespace

// A loop that holds, or that only reads, sends nothing for a time request to go with; without one
// the bound of the clock grows, until every sample is stale for it.
void LinkPort::keep_up(int64_t now_ns) noexcept {
    if (last_time_request_ns_ == 0) last_time_request_ns_ = now_ns - kTimeRequestIntervalNs;
    if (now_ns - last_time_request_ns_ < 2 * kTimeRequestIntervalNs) return;
    if (stopped_.load(std::memory_order_acquire) || !line_.is_attached()) return;
    send(nullptr, now_ns);
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

int64_t LinkPort::valid_until_ns(int64_t now_ns, int64_t deadline_ns) const noexcept {
    // The device refuses what is valid for longer than its timeout, by its own clock. That may have
    // lost ticks since it was estimated: what asks for the last microsecond would be refused until
    // the estimate has followed.
    const int64_t longest_ns = config_.command_timeout_ns - config_.command_timeout_ns / 8;
    return std::min(deadline_ns + config_.command_validity_ns,
                    now_ns + longest_ns - time_.error_ns());
}

rtl_command LinkPort::command_of(const float *values, int64_t valid_until_ns) const noexcept {
    rtl_command command{};
    command.valid_until_us = static_cast<uint32_t>(time_.to_device_us(valid_until_ns));
    command.count = static_cast<uint8_t>(config_.n_command);
    std::memcpy(command.values, values, config_.n_command * sizeof(float));
    return command;
}

// Returns whether the command, if there is one, has left. What else is due goes with it.
bool LinkPort::send(const rtl_command *command, int64_t now_ns) noexcept {
    uint8_t payload[RTL_PAYLOAD_MAX];
    Packet packets[kPacketsAtOnce];
    size_t n = 0;
    const uint16_t command_seq = tx_seq_.load(std::memory_order_relaxed);
    if (command != nullptr) {
        packets[n++] = packet(RTL_TYPE_COMMAND, payload, rtl_command_encode(command, payload),
                              sensor_seq_, now_ns);
    }
    if (now_ns - last_time_request_ns_ >= kTimeRequestIntervalNs) {
        last_time_request_ns_ = now_ns;
        time_reply_is_due_ = true;
        const rtl_time_request request = {static_cast<uint64_t>(now_ns)};
        packets[n++] = packet(RTL_TYPE_TIME_REQUEST, payload,
                              rtl_time_request_encode(&request, payload), sequence_.newest, now_ns);
    }
    if (last_account_request_ns_ == 0) last_account_request_ns_ = now_ns;
    if (terms_.accounts && now_ns - last_account_request_ns_ >= kAccountRequestIntervalNs) {
        last_account_request_ns_ = now_ns;
        account_request_seq_ = tx_seq_.load(std::memory_order_relaxed);
        account_is_due_ = true;
        packets[n++] = packet(RTL_TYPE_STATS_REQUEST, payload, 0, sequence_.newest, now_ns);
    }
    if (n == 0) return false;

    const Wire::Sent sent = wire_->send(line_.fd(), packets, n);
    if (sent.refusal != 0) refusal_ = sent.refusal;
    if (sent.error != 0) {
        if (error_ == 0) error_ = sent.error;  // the first one says most
        judge_line(now_ns);
    }
    count_sent(n, sent.packets);
    if (command == nullptr || sent.packets == 0) return false;
    if (!has_commanded_) confirmed_seq_ = static_cast<uint16_t>(command_seq - 1);
    has_commanded_ = true;
    newest_command_seq_ = command_seq;
    if (unconfirmed_since_ns_ < 0) unconfirmed_since_ns_ = now_ns;
    return true;
}

void LinkPort::count_sent(size_t n, size_t left) noexcept {
    counters_.tx_packets.fetch_add(static_cast<uint32_t>(left), std::memory_order_relaxed);
    counters_.tx_dropped.fetch_add(static_cast<uint32_t>(n - left), std::memory_order_relaxed);
}

Packet LinkPort::packet(uint8_t type, const uint8_t *payload, size_t size, uint16_t ack,
                        int64_t now_ns) noexcept {
    const rtl_header header = {0,
                               type,
                               tx_seq_.fetch_add(1, std::memory_order_relaxed),
                               ack,
                               config_.schema_id,
                               static_cast<uint32_t>(now_ns / 1000)};
    Packet packet;
    packet.size = rtl_packet_encode(&header, payload, size, packet.bytes);
    return packet;
}

// The clock and the numbers of what was received are the loop's: all that depends on them is done
// here. It leaves at the deadline.
void LinkPort::prepare_default(const float *values, int64_t deadline_ns) noexcept {
    default_valid_until_ns_ = valid_until_ns(deadline_ns, deadline_ns);
    default_ = command_of(values, default_valid_until_ns_);
    default_ack_ = sensor_seq_;
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
    uint8_t payload[RTL_PAYLOAD_MAX];
    const Packet command = packet(RTL_TYPE_COMMAND, payload, rtl_command_encode(&default_, payload),
                                  default_ack_, now_ns);
    // A line that is gone shows in the loop's own calls.
    const size_t left = wire_->send(line_.fd(), &command, 1).packets;
    count_sent(1, left);
    // Beside it the loop may have ended: STOP is the last packet on the line.
    if (stopped_.load(std::memory_order_acquire)) write_safe();
    return left == 1;
}

void LinkPort::write_safe() noexcept {
    stopped_.store(true);
    // Best effort by nature: on a dead line the device's own command timeout does the same.
    wire_->send_last(line_.fd(), stop_);
}

}  // namespace rtloop
