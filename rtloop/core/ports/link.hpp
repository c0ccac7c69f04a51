// The firmware link inside the cycle: newest SENSOR in, COMMAND out, on a line that is already open
// and past its handshake.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "rtloop/core/ports/line.hpp"
#include "rtloop/core/ports/port.hpp"
#include "rtloop/core/ports/time_map.hpp"
#include "rtloop/core/ports/triple_buffer.hpp"
#include "rtloop/core/ports/wire.hpp"
#include "rtloop/messages.h"
#include "rtloop/sequence.h"

namespace rtloop {

struct LinkConfig {
    int fd = -1;                 // duplicated by the port, and set to non-blocking
    bool keeps_packets = false;  // each read and write of it is one packet; else bytes of frames
    uint16_t schema_id = 0;
    uint32_t n_sensor = 0;
    uint32_t n_command = 0;
    int64_t command_validity_ns = 0;  // a command is valid until its deadline plus this
    int64_t command_timeout_ns = 0;   // of the device; nothing is valid for longer
    bool reconnects = false;          // its loss is no fault: another thread opens it anew
    LineTerms terms;
};

// Counters an observer may read at any time.
struct LinkCounters {
    std::atomic<uint32_t> rx_packets{0};
    std::atomic<uint32_t> rx_errors{0};     // broken frames, failed CRC, foreign schema
    std::atomic<uint32_t> rx_lost{0};       // missing in the device's numbers
    std::atomic<uint32_t> rx_reordered{0};  // overtaken by newer ones, and not lost
    std::atomic<uint32_t> rx_repeated{0};   // copies, which are no more packets
    std::atomic<uint32_t> rx_discarded{0};  // bytes of a flood, not looked at
    std::atomic<uint32_t> tx_packets{0};
    std::atomic<uint32_t> tx_dropped{0};  // the line's buffer was full
    std::atomic<uint32_t> tx_expired{0};  // commands that were no longer valid, and not sent
    std::atomic<uint32_t> device_events{0};
    std::atomic<int64_t> sensor_intervals{0};       // between samples with nothing lost in between
    std::atomic<int64_t> sensor_interval_ns{0};     // their mean, by the device's clock
    std::atomic<uint8_t> device_state{0};           // rtl_state, as it said last
    std::atomic<uint16_t> device_reasons{0};        // why the device says it is SAFE
    std::atomic<uint16_t> device_late_commands{0};  // that it refused, since it booted
    std::atomic<int64_t> clock_offset_ns{0};        // device clock - CLOCK_MONOTONIC, as in use
    std::atomic<int64_t> clock_error_ns{0};
    std::atomic<int64_t> clock_skew_ppb{0};
    std::atomic<uint32_t> clock_contradictions{0};
};

class LinkPort final : public Port, private Wire::Receiver {
  public:
    // Throws std::system_error, std::invalid_argument.
    explicit LinkPort(const LinkConfig &config);
    // Options by the names of LinkConfig. Throws the same.
    explicit LinkPort(const PortOptions &options);
    ~LinkPort() override;
    LinkPort(const LinkPort &) = delete;
    LinkPort &operator=(const LinkPort &) = delete;

    size_t n_inputs() const noexcept override { return config_.n_sensor; }
    size_t n_outputs() const noexcept override { return config_.n_command; }
    void rearm() noexcept override;
    void poll(int64_t now_ns) noexcept override;
    int64_t attention_ns(int64_t now_ns) const noexcept override;
    void attend(int64_t now_ns) noexcept override;
    bool paces() const noexcept override { return n_inputs() > 0; }
    Sample await_sample(int64_t until_ns) noexcept override;
    Sample read(float *values) noexcept override;
    bool write(const float *values, int64_t now_ns, int64_t deadline_ns) noexcept override;
    void keep_up(int64_t now_ns) noexcept override;
    void prepare_default(const float *values, int64_t deadline_ns) noexcept override;
    bool write_default(int64_t now_ns) noexcept override;
    void write_safe() noexcept override;
    bool knows_safe() const noexcept override { return false; }
    PortReport report() const noexcept override;
    std::vector<std::pair<std::string, int64_t>> counters() const override;
    std::vector<uint8_t> account() override;
    bool is_lost() const noexcept override { return line_.is_lost(); }
    int loss_error() const noexcept override { return line_.error(); }
    void let_go() override { line_.let_go(); }
    // Options "fd" and by the names of LineTerms. Throws the same as the constructor.
    void reconnect(const PortOptions &options) override;
    void give_up(FaultReason reason) noexcept override { line_.give_up(reason); }

  private:
    void forget_device() noexcept;
    void attach(const LineTerms &terms) noexcept;
    void judge_line(int64_t now_ns) noexcept;
    void judge_loss(int64_t now_ns) noexcept;
    void tell(PortEventKind kind, int64_t now_ns) noexcept;
    void tell_clock(int64_t now_ns) noexcept;

    // link_receive.cpp
    Sample newest_sample() const noexcept;
    void receive(int64_t now_ns) noexcept;
    void accept(const uint8_t *packet, size_t size, int64_t now_ns) noexcept override;
    void tell_event(const rtl_event &event, int64_t now_ns) noexcept;
    rtl_arrival follow_sequence(const rtl_header &header) noexcept;
    bool follow_sensors(rtl_arrival arrival, uint16_t seq) noexcept;
    void follow_pace(uint32_t sent_us) noexcept;
    void follow_commands(const rtl_sensor &sensor, int64_t now_ns) noexcept;

    // link_send.cpp
    bool send(const rtl_command *command, int64_t now_ns) noexcept;
    bool send_default(int64_t now_ns) noexcept;
    int64_t valid_until_ns(int64_t now_ns, int64_t deadline_ns) const noexcept;
    rtl_command command_of(const float *values, int64_t valid_until_ns) const noexcept;
    void count_sent(size_t n, size_t left) noexcept;
    Packet packet(uint8_t type, const uint8_t *payload, size_t size, uint16_t ack,
                  int64_t now_ns) noexcept;

    const LinkConfig config_;
    Line line_;
    LineTerms terms_;  // of the line that is attached
    const std::unique_ptr<Wire> wire_;
    TimeMap time_;
    rtl_sensor sensor_{};
    bool sample_has_arrived_ = false;
    bool sample_is_news_ = false;  // it was neither read nor told of
    int64_t sample_time_us_ = 0;   // device clock
    Sample sample_before_loss_;    // until there is a newer one
    int64_t last_sensor_ns_ = -1;
    int64_t last_receive_ns_ = 0;
    int64_t last_time_request_ns_ = 0;
    int64_t last_account_request_ns_ = 0;
    uint16_t account_request_seq_ = 0;
    bool account_is_due_ = false;
    bool time_reply_is_due_ = false;
    // Commands of this activation: since when one has waited to be confirmed (-1: none does), the
    // seq of the newest, and the one that was confirmed last.
    int64_t unconfirmed_since_ns_ = -1;
    bool has_commanded_ = false;
    bool was_active_ = false;  // since the line was attached
    uint16_t newest_command_seq_ = 0;
    uint16_t confirmed_seq_ = 0;
    bool is_disobeyed_ = false;
    std::atomic<uint16_t> tx_seq_{0};  // of loop and guard
    rtl_sequence sequence_{};          // of the device's packets
    uint16_t sensor_seq_ = 0;          // the newest sample's
    uint32_t gap_ = 0;
    bool pace_is_known_ = false;  // nothing was lost since the sample sent at:
    uint32_t paced_since_us_ = 0;
    int64_t paced_us_ = 0;
    rtl_command default_{};
    int64_t default_valid_until_ns_ = 0;
    uint16_t default_ack_ = 0;
    uint32_t default_line_ = 0;  // the number of the line that it is for
    PortReport report_;
    Newest<std::optional<rtl_stats>> account_{0, std::nullopt};
    Packet stop_;
    std::atomic<bool> stopped_{true};
    int refusal_ = 0;  // the network's, since the newest packet: if that was the last, the reason
    int error_ = 0;
    int64_t clock_told_ns_ = -1;  // of this activation, and what its error was then
    int64_t told_error_ns_ = 0;
    uint32_t told_contradictions_ = 0;
    bool loss_is_told_ = false;  // or, of one that is lost, that it was given up
    LinkCounters counters_;
};

}  // namespace rtloop
