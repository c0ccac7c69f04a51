// The wire format of firmware/lib for Python: packets, frames, and what a host says outside the
// cycle. Decoded messages are in messages.cpp; in the cycle SENSOR and COMMAND are read and
// written in ports/link.cpp.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "rtloop/core/bind/convert.hpp"
#include "rtloop/frame.h"
#include "rtloop/messages.h"
#include "rtloop/packet.h"

using namespace nanobind::literals;

namespace rtloop {

namespace {

nb::bytes packet_encode(uint8_t type, uint16_t seq, uint16_t ack, uint16_t schema_id,
                        uint32_t time_us, nb::bytes payload, uint8_t flags) {
    const rtl_header header = {flags, type, seq, ack, schema_id, time_us};
    uint8_t packet[RTL_PACKET_MAX];
    const size_t n = rtl_packet_encode(&header, payload.c_str(), payload.size(), packet);
    if (n == 0) {
        throw std::invalid_argument("a payload holds at most " + std::to_string(RTL_PAYLOAD_MAX) +
                                    " bytes, got " + std::to_string(payload.size()));
    }
    return nb::bytes(packet, n);
}

nb::tuple packet_decode(nb::bytes packet) {
    rtl_header h;
    const uint8_t *payload = nullptr;
    size_t size = 0;
    const rtl_status status = rtl_packet_decode(static_cast<const uint8_t *>(packet.data()),
                                                packet.size(), &h, &payload, &size);
    switch (status) {
        case RTL_OK:
            break;
        case RTL_SHORT:
            throw std::invalid_argument("packet is too short");
        case RTL_LONG:
            throw std::invalid_argument("packet is too long");
        case RTL_VERSION:
            throw std::invalid_argument("packet has another protocol version");
        case RTL_CRC:
            throw std::invalid_argument("packet fails its CRC");
    }
    return nb::make_tuple(h.type, h.flags, h.seq, h.ack, h.schema_id, h.time_us,
                          nb::bytes(payload, size));
}

nb::bytes frame_encode(nb::bytes packet) {
    uint8_t frame[RTL_FRAME_MAX];
    const size_t n =
        rtl_frame_encode(static_cast<const uint8_t *>(packet.data()), packet.size(), frame);
    if (n == 0) {
        throw std::invalid_argument("a packet has 1 to " + std::to_string(RTL_PACKET_MAX) +
                                    " bytes, got " + std::to_string(packet.size()));
    }
    return nb::bytes(frame, n);
}

struct FrameDecoder {
    FrameDecoder() { rtl_frame_decoder_init(&state); }
    nb::list feed(nb::bytes data) {
        nb::list packets;
        const auto *bytes = static_cast<const uint8_t *>(data.data());
        for (size_t used = 0; used < data.size();) {
            const uint8_t *packet = nullptr;
            size_t size = 0;
            used +=
                rtl_frame_decoder_feed(&state, bytes + used, data.size() - used, &packet, &size);
            if (size > 0) packets.append(nb::bytes(packet, size));
        }
        return packets;
    }
    rtl_frame_decoder state;
};

template <typename Message>
nb::bytes encoded(size_t (*encode)(const Message *, uint8_t *), const Message &message) {
    uint8_t payload[RTL_PAYLOAD_MAX];
    const size_t n = encode(&message, payload);
    return nb::bytes(payload, n);
}

nb::bytes arm_encode(uint8_t loop_class, uint16_t max_late_commands, uint32_t command_timeout_us) {
    return encoded(rtl_arm_encode, rtl_arm{loop_class, max_late_commands, command_timeout_us});
}

nb::bytes command_encode(uint32_t valid_until_us, const std::vector<float> &values) {
    if (values.size() > RTL_VALUES_MAX) {
        throw std::invalid_argument(std::to_string(values.size()) + " values are more than " +
                                    std::to_string(RTL_VALUES_MAX));
    }
    rtl_command command{};
    command.valid_until_us = valid_until_us;
    command.count = static_cast<uint8_t>(values.size());
    std::copy(values.begin(), values.end(), command.values);
    return encoded(rtl_command_encode, command);
}

nb::tuple histogram_edges_us() {
    nb::list edges;
    for (unsigned bucket = 0; bucket < RTL_HISTOGRAM_BUCKETS; ++bucket) {
        edges.append(rtl_histogram_edge_us(bucket));
    }
    return nb::tuple(edges);
}

nb::dict named(std::initializer_list<std::pair<const char *, int>> rows) {
    nb::dict d;
    for (const auto &[name, value] : rows) d[name] = value;
    return d;
}

}  // namespace

void bind_link(nb::module_ &m) {
    m.attr("LINK_VALUES_MAX") = static_cast<int>(RTL_VALUES_MAX);
    m.attr("PROTOCOL_VERSION") = static_cast<int>(RTL_PROTOCOL_VERSION);
    m.attr("MESSAGE_TYPES") = named({{"HELLO", RTL_TYPE_HELLO},
                                     {"HELLO_REPLY", RTL_TYPE_HELLO_REPLY},
                                     {"SCHEMA_REQUEST", RTL_TYPE_SCHEMA_REQUEST},
                                     {"SCHEMA_CHUNK", RTL_TYPE_SCHEMA_CHUNK},
                                     {"TIME_REQUEST", RTL_TYPE_TIME_REQUEST},
                                     {"TIME_REPLY", RTL_TYPE_TIME_REPLY},
                                     {"SENSOR", RTL_TYPE_SENSOR},
                                     {"COMMAND", RTL_TYPE_COMMAND},
                                     {"ARM", RTL_TYPE_ARM},
                                     {"CLEAR", RTL_TYPE_CLEAR},
                                     {"STOP", RTL_TYPE_STOP},
                                     {"EVENT", RTL_TYPE_EVENT},
                                     {"STATUS_REQUEST", RTL_TYPE_STATUS_REQUEST},
                                     {"STATUS", RTL_TYPE_STATUS},
                                     {"STATS_REQUEST", RTL_TYPE_STATS_REQUEST},
                                     {"STATS", RTL_TYPE_STATS},
                                     {"HISTOGRAM_REQUEST", RTL_TYPE_HISTOGRAM_REQUEST},
                                     {"HISTOGRAM", RTL_TYPE_HISTOGRAM}});
    m.attr("HISTOGRAM_KINDS") = named({{"response", RTL_HISTOGRAM_RESPONSE},
                                       {"release_latency", RTL_HISTOGRAM_RELEASE_LATENCY},
                                       {"sample_to_actuation", RTL_HISTOGRAM_SAMPLE_TO_ACTUATION}});
    m.attr("HISTOGRAM_EDGES_US") = histogram_edges_us();
    m.attr("FLAG_ACCOUNTS") = static_cast<int>(RTL_FLAG_ACCOUNTS);
    m.attr("CLASS_NONE") = static_cast<int>(RTL_CLASS_NONE);
    m.attr("DEVICE_STATES") = named({{"INIT", RTL_STATE_INIT},
                                     {"IDLE", RTL_STATE_IDLE},
                                     {"ARMED", RTL_STATE_ARMED},
                                     {"ACTIVE", RTL_STATE_ACTIVE},
                                     {"SAFE", RTL_STATE_SAFE}});
    m.attr("DEVICE_REASONS") = named({{"COMMAND_TIMEOUT", RTL_REASON_COMMAND_TIMEOUT},
                                      {"DEADLINE_MISSES", RTL_REASON_DEADLINE_MISSES},
                                      {"LINK_ERRORS", RTL_REASON_LINK_ERRORS},
                                      {"NON_FINITE", RTL_REASON_NON_FINITE},
                                      {"LIMIT", RTL_REASON_LIMIT},
                                      {"HOST_STOP", RTL_REASON_HOST_STOP},
                                      {"HARDWARE", RTL_REASON_HARDWARE}});

    m.def("packet_encode", &packet_encode, "type"_a, "seq"_a, "ack"_a, "schema_id"_a, "time_us"_a,
          "payload"_a, "flags"_a = 0);
    m.def("packet_decode", &packet_decode, "packet"_a);
    m.def("frame_encode", &frame_encode, "packet"_a);
    nb::class_<FrameDecoder>(m, "FrameDecoder")
        .def(nb::init<>())
        .def("feed", &FrameDecoder::feed, "data"_a)
        .def_prop_ro("errors", [](const FrameDecoder &d) { return d.state.errors; });
    m.def(
        "schema_id", [](nb::bytes text) { return rtl_schema_id(text.c_str(), text.size()); },
        "text"_a);

    m.def(
        "hello_encode",
        [](uint8_t min_version, uint8_t max_version) {
            return encoded(rtl_hello_encode, rtl_hello{min_version, max_version});
        },
        "min_version"_a, "max_version"_a);
    m.def(
        "schema_request_encode",
        [](uint16_t offset) {
            return encoded(rtl_schema_request_encode, rtl_schema_request{offset});
        },
        "offset"_a);
    m.def(
        "time_request_encode",
        [](uint64_t host_ns) {
            return encoded(rtl_time_request_encode, rtl_time_request{host_ns});
        },
        "host_ns"_a);
    m.def(
        "stop_encode", [](uint16_t reasons) { return encoded(rtl_stop_encode, rtl_stop{reasons}); },
        "reasons"_a);
    m.def(
        "histogram_request_encode",
        [](uint8_t kind) {
            return encoded(rtl_histogram_request_encode, rtl_histogram_request{kind});
        },
        "kind"_a);
    m.def("arm_encode", &arm_encode, "loop_class"_a, "max_late_commands"_a, "command_timeout_us"_a);
    m.def("command_encode", &command_encode, "valid_until_us"_a, "values"_a);
}

}  // namespace rtloop
