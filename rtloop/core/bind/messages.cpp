// Any message of firmware/lib as a dict of its fields: for who watches a line or reads a capture.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <cstring>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <utility>

#include "rtloop/core/bind/convert.hpp"
#include "rtloop/messages.h"

using namespace nanobind::literals;

namespace rtloop {

namespace {

using Fields = nb::dict;

template <typename Value>
nb::list listed(const Value *values, size_t count) {
    nb::list list;
    for (size_t i = 0; i < count; ++i) list.append(values[i]);
    return list;
}

// The numbers are the peer's; text is cut to the room it has.
Fields fields(const rtl_hello &m) {
    Fields d;
    d["min_version"] = m.min_version;
    d["max_version"] = m.max_version;
    return d;
}

Fields fields(const rtl_hello_reply &m) {
    Fields d;
    d["version"] = m.version;
    d["state"] = m.state;
    d["reasons"] = m.reasons;
    d["n_sensor"] = m.n_sensor;
    d["n_command"] = m.n_command;
    d["schema_bytes"] = m.schema_bytes;
    d["sensor_period_us"] = m.sensor_period_us;
    d["command_timeout_us"] = m.command_timeout_us;
    d["boot_id"] = m.boot_id;
    d["name"] =
        nb::bytes(m.name, strnlen(m.name, sizeof(m.name))).attr("decode")("ascii", "replace");
    return d;
}

Fields fields(const rtl_schema_request &m) {
    Fields d;
    d["offset"] = m.offset;
    return d;
}

Fields fields(const rtl_schema_chunk &m) {
    Fields d;
    d["offset"] = m.offset;
    d["total"] = m.total;
    d["bytes"] = nb::bytes(m.bytes, m.size);
    return d;
}

Fields fields(const rtl_time_request &m) {
    Fields d;
    d["host_ns"] = m.host_ns;
    return d;
}

Fields fields(const rtl_time_reply &m) {
    Fields d;
    d["host_ns"] = m.host_ns;
    d["t2_us"] = m.t2_us;
    d["t3_us"] = m.t3_us;
    return d;
}

Fields fields(const rtl_sensor &m) {
    Fields d;
    d["sample_time_us"] = m.sample_time_us;
    d["state"] = m.state;
    d["reasons"] = m.reasons;
    d["command_seq"] = m.command_seq;
    d["late_commands"] = m.late_commands;
    d["values"] = listed(m.values, m.count);
    return d;
}

Fields fields(const rtl_command &m) {
    Fields d;
    d["valid_until_us"] = m.valid_until_us;
    d["values"] = listed(m.values, m.count);
    return d;
}

Fields fields(const rtl_arm &m) {
    Fields d;
    d["loop_class"] = m.loop_class;
    d["max_late_commands"] = m.max_late_commands;
    d["command_timeout_us"] = m.command_timeout_us;
    return d;
}

Fields fields(const rtl_stop &m) {
    Fields d;
    d["reason_bits"] = m.reason_bits;
    return d;
}

Fields fields(const rtl_event &m) {
    Fields d;
    d["event"] = m.event;
    d["loop_class"] = m.loop_class;
    d["reasons"] = m.reasons;
    d["time_us"] = m.time_us;
    d["valid_until_us"] = m.valid_until_us;
    d["lateness_us"] = m.lateness_us;
    d["total"] = m.total;
    d["state"] = m.state;
    return d;
}

Fields fields(const rtl_device_status &m) {
    Fields d;
    d["state"] = m.state;
    d["loop_class"] = m.loop_class;
    d["reasons"] = m.reasons;
    d["boot_id"] = m.boot_id;
    d["rx_packets"] = m.rx_packets;
    d["crc_errors"] = m.crc_errors;
    d["frame_errors"] = m.frame_errors;
    d["seq_gaps"] = m.seq_gaps;
    d["late_commands"] = m.late_commands;
    d["rejected_commands"] = m.rejected_commands;
    d["command_timeouts"] = m.command_timeouts;
    d["tx_packets"] = m.tx_packets;
    return d;
}

Fields fields(const rtl_stats &m) {
    Fields d;
    d["loop_class"] = m.loop_class;
    d["max_misses"] = m.max_misses;
    d["window"] = m.window;
    d["max_consecutive"] = m.max_consecutive;
    d["boot_id"] = m.boot_id;
    d["period_us"] = m.period_us;
    d["deadline_us"] = m.deadline_us;
    d["jobs"] = m.jobs;
    d["skipped"] = m.skipped;
    d["misses"] = m.misses;
    d["limit_broken"] = m.limit_broken;
    d["most_consecutive"] = m.most_consecutive;
    d["lateness_max_us"] = m.lateness_max_us;
    d["worst_job"] = m.worst_job;
    d["first_miss_job"] = m.first_miss_job;
    d["began_us"] = m.began_us;
    d["worst_us"] = m.worst_us;
    d["first_miss_us"] = m.first_miss_us;
    d["response_max_us"] = m.response_max_us;
    d["release_latency_max_us"] = m.release_latency_max_us;
    d["sample_to_actuation_max_us"] = m.sample_to_actuation_max_us;
    d["traced"] = m.traced;
    d["untraced"] = m.untraced;
    return d;
}

Fields fields(const rtl_histogram_request &m) {
    Fields d;
    d["kind"] = m.kind;
    return d;
}

Fields fields(const rtl_histogram_counts &m) {
    Fields d;
    d["kind"] = m.kind;
    d["counts"] = listed(m.counts, m.count);
    return d;
}

template <typename Message>
Fields decoded(bool (*decode)(const uint8_t *, size_t, Message *), nb::bytes payload,
               const char *name) {
    Message message;
    if (!decode(static_cast<const uint8_t *>(payload.data()), payload.size(), &message)) {
        throw std::invalid_argument(std::to_string(payload.size()) + " bytes are no " + name);
    }
    return fields(message);
}

Fields message_decode(uint8_t type, nb::bytes payload) {
    switch (type) {
        case RTL_TYPE_HELLO:
            return decoded(rtl_hello_decode, payload, "HELLO");
        case RTL_TYPE_HELLO_REPLY:
            return decoded(rtl_hello_reply_decode, payload, "HELLO_REPLY");
        case RTL_TYPE_SCHEMA_REQUEST:
            return decoded(rtl_schema_request_decode, payload, "SCHEMA_REQUEST");
        case RTL_TYPE_SCHEMA_CHUNK:
            return decoded(rtl_schema_chunk_decode, payload, "SCHEMA_CHUNK");
        case RTL_TYPE_TIME_REQUEST:
            return decoded(rtl_time_request_decode, payload, "TIME_REQUEST");
        case RTL_TYPE_TIME_REPLY:
            return decoded(rtl_time_reply_decode, payload, "TIME_REPLY");
        case RTL_TYPE_SENSOR:
            return decoded(rtl_sensor_decode, payload, "SENSOR");
        case RTL_TYPE_COMMAND:
            return decoded(rtl_command_decode, payload, "COMMAND");
        case RTL_TYPE_ARM:
            return decoded(rtl_arm_decode, payload, "ARM");
        case RTL_TYPE_STOP:
            return decoded(rtl_stop_decode, payload, "STOP");
        case RTL_TYPE_EVENT:
            return decoded(rtl_event_decode, payload, "EVENT");
        case RTL_TYPE_STATUS:
            return decoded(rtl_device_status_decode, payload, "STATUS");
        case RTL_TYPE_STATS:
            return decoded(rtl_stats_decode, payload, "STATS");
        case RTL_TYPE_HISTOGRAM_REQUEST:
            return decoded(rtl_histogram_request_decode, payload, "HISTOGRAM_REQUEST");
        case RTL_TYPE_HISTOGRAM:
            return decoded(rtl_histogram_counts_decode, payload, "HISTOGRAM");
        case RTL_TYPE_CLEAR:
        case RTL_TYPE_STATUS_REQUEST:
        case RTL_TYPE_STATS_REQUEST:
            return {};
        default:
            throw std::invalid_argument("there is no message of type " + std::to_string(type));
    }
}

}  // namespace

void bind_messages(nb::module_ &m) {
    m.def("message_decode", &message_decode, "type"_a, "payload"_a);
}

}  // namespace rtloop
