// rtloop_test_bit_errors FORM FRAMES SEED ONE_IN: the host's end of a link behind a wire that flips
// one bit in ONE_IN. FORM is what travels: `stream`, COBS on a serial line; `packets`, as UDP and
// ZeroMQ carry them. firmware/tests/bit_errors.c is the device's end.
//
// - The sample that a cycle reads is at each time the newest that came through whole, bit for bit.
// - Sent = rx_packets + rx_lost, to the packet; rx_packets is exactly what came through whole, on a
//   stream with the delimiter before it.
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "bit_flips.h"
#include "rtloop/core/cycle/clock.hpp"
#include "rtloop/core/ports/link.hpp"
#include "rtloop/frame.h"

using namespace rtloop;

namespace {

constexpr uint16_t kSchemaId = 0x1234;
constexpr uint32_t kValues = 2;
constexpr int kBurst = 64;  // packets between two looks at the line

bool is_stream = false;
bit_flips wire;
int ends[2];
uint64_t sent = 0;
uint64_t whole = 0;
int64_t newest_whole = -1;  // its number
bool begins_well = true;    // the delimiter before came through

[[noreturn]] void fail(const char *what) {
    std::printf("after %llu packets: %s\n", static_cast<unsigned long long>(sent), what);
    std::exit(1);
}

// What only the packet of this number holds.
void values_of(uint64_t number, float *values) {
    uint64_t mixed = number;
    values[0] = static_cast<float>(number & 0x7fffffu);
    values[1] = static_cast<float>(random_word(&mixed) >> 41);
}

void send_one() {
    const auto time_us = static_cast<uint32_t>(MonotonicClock().now() / 1000);
    rtl_sensor sensor{};
    sensor.sample_time_us = time_us;
    sensor.state = RTL_STATE_IDLE;
    sensor.count = kValues;
    values_of(sent, sensor.values);
    uint8_t payload[RTL_PAYLOAD_MAX];
    uint8_t packet[RTL_PACKET_MAX];
    uint8_t frame[RTL_FRAME_MAX];
    rtl_header header{};
    header.type = RTL_TYPE_SENSOR;
    header.seq = static_cast<uint16_t>(sent);
    header.schema_id = kSchemaId;
    header.time_us = time_us;
    const size_t payload_size = rtl_sensor_encode(&sensor, payload);
    size_t n = rtl_packet_encode(&header, payload, payload_size, packet);
    uint8_t *bytes = packet;
    if (is_stream) {
        n = rtl_frame_encode(packet, n, frame);
        bytes = frame;
    }
    if (bit_flips_send(&wire, bytes, n) == 0 && begins_well) {
        ++whole;
        newest_whole = static_cast<int64_t>(sent);
    }
    begins_well = !is_stream || bytes[n - 1] == 0;
    ++sent;
    if (::send(ends[1], bytes, n, 0) != static_cast<ssize_t>(n)) fail("the wire is full");
}

void look(LinkPort &link) {
    float values[kValues];
    float expected[kValues];
    link.poll(MonotonicClock().now());
    const Sample sample = link.read(values);
    if (sample.time_ns < 0 || newest_whole < 0) return;
    values_of(static_cast<uint64_t>(newest_whole), expected);
    if (std::memcmp(values, expected, sizeof(values)) != 0) {
        fail("the newest sample is not the newest that came through whole");
    }
}

void send_whole() {
    const bit_flips damaging = wire;
    wire.bits_left = UINT64_MAX;
    send_one();
    wire = damaging;
}

int64_t counter(const LinkPort &link, const char *name) {
    for (const auto &[known, value] : link.counters()) {
        if (known == name) return value;
    }
    fail("no such counter");
}

PortOptions options() {
    return {{"fd", int64_t{ends[0]}},
            {"keeps_packets", int64_t{is_stream ? 0 : 1}},
            {"schema_id", int64_t{kSchemaId}},
            {"n_sensor", int64_t{kValues}},
            {"n_command", int64_t{1}},
            {"clock_offset_ns", int64_t{0}},
            {"clock_error_ns", int64_t{1'000'000}},
            {"clock_time_ns", MonotonicClock().now()},
            {"command_validity_ns", int64_t{1'000'000}},
            {"command_timeout_ns", int64_t{1'000'000'000}},
            {"obey_timeout_ns", int64_t{0}},
            {"silence_timeout_ns", int64_t{3'600'000'000'000}},
            {"reconnects", int64_t{0}},
            {"is_armed", int64_t{1}},
            {"accounts", int64_t{0}}};
}

}  // namespace

int main(int argc, char **argv) {
    const std::string form = argc == 5 ? argv[1] : "";
    if (form != "stream" && form != "packets") {
        std::fputs("usage: rtloop_test_bit_errors stream|packets FRAMES SEED ONE_IN\n", stderr);
        return 2;
    }
    is_stream = form == "stream";
    const uint64_t wanted = std::strtoull(argv[2], nullptr, 10);
    bit_flips_init(&wire, std::strtoull(argv[3], nullptr, 10),
                   static_cast<uint32_t>(std::strtoul(argv[4], nullptr, 10)));
    if (socketpair(AF_UNIX, is_stream ? SOCK_STREAM : SOCK_SEQPACKET, 0, ends) != 0) {
        fail("no sockets");
    }
    LinkPort link(options());
    link.rearm();
    send_whole();
    look(link);
    while (sent < wanted) {
        for (int i = 0; i < kBurst && sent < wanted; ++i) send_one();
        look(link);
    }
    if (is_stream && ::send(ends[1], "", 1, 0) == 1) begins_well = true;
    send_whole();
    look(link);

    const auto accepted = static_cast<uint64_t>(counter(link, "rx_packets"));
    const auto lost = static_cast<uint64_t>(counter(link, "rx_lost"));
    const int64_t errors = counter(link, "rx_errors");
    std::printf(
        "%s, one bit in %s flipped: %llu packets sent, %llu came through whole, %llu accepted, "
        "%llu "
        "told to be lost, %lld errors; no sample that was not sent\n",
        form.c_str(), argv[4], static_cast<unsigned long long>(sent),
        static_cast<unsigned long long>(whole), static_cast<unsigned long long>(accepted),
        static_cast<unsigned long long>(lost), static_cast<long long>(errors));
    if (accepted + lost != sent) fail("sent is not accepted + lost");
    if (accepted != whole) fail("accepted is not what came through whole");
    close(ends[0]);
    close(ends[1]);
    // A run in which nothing was damaged, or nothing arrived, has tested nothing.
    return accepted > 2 && lost > 0 && errors > 0 ? 0 : 1;
}
