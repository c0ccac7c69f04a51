#include "rtloop/device.h"

#include <string.h>

#include "device_account.h"
#include "device_send.h"
#include "device_state.h"

/* ---- questions ------------------------------------------------------------------------------- */

static void on_hello(rtl_device *d, const rtl_hello *hello) {
    const bool in_common =
        hello->min_version <= RTL_PROTOCOL_VERSION && RTL_PROTOCOL_VERSION <= hello->max_version;
    rtl_hello_reply reply = {
        .version = in_common ? RTL_PROTOCOL_VERSION : 0,
        .state = (uint8_t)d->state,
        .reasons = d->reasons,
        .n_sensor = d->description.n_sensor,
        .n_command = d->description.n_command,
        .schema_bytes = d->schema_bytes,
        .sensor_period_us = d->description.sensor_period_us,
        .command_timeout_us = rtl_command_timeout_us(d),
        .boot_id = d->description.boot_id,
    };
    const char *const name = d->description.name;
    for (size_t i = 0; i + 1 < RTL_NAME_SIZE && name[i] != '\0'; ++i) {
        reply.name[i] = name[i];
    }
    uint8_t payload[RTL_PAYLOAD_MAX];
    rtl_send_flagged(d, d->description.account != NULL ? RTL_FLAG_ACCOUNTS : 0,
                     RTL_TYPE_HELLO_REPLY, payload, rtl_hello_reply_encode(&reply, payload));
    if (in_common) {
        d->peer = d->answer_to;
    }
    if (in_common && !d->peer_is_known) {
        const uint64_t period_us = d->description.sensor_period_us;
        d->next_sensor_us = (rtl_now_us(d) / period_us + 1) * period_us;
        d->peer_is_known = true;
    }
}

static void on_schema_request(rtl_device *d, const rtl_schema_request *request) {
    const uint16_t offset = request->offset < d->schema_bytes ? request->offset : d->schema_bytes;
    const size_t rest = (size_t)d->schema_bytes - offset;
    rtl_schema_chunk chunk = {
        .offset = offset,
        .total = d->schema_bytes,
        .size = (uint8_t)(rest < RTL_SCHEMA_CHUNK_MAX ? rest : RTL_SCHEMA_CHUNK_MAX),
    };
    memcpy(chunk.bytes, d->description.schema + offset, chunk.size);
    uint8_t payload[RTL_PAYLOAD_MAX];
    rtl_send_packet(d, RTL_TYPE_SCHEMA_CHUNK, payload, rtl_schema_chunk_encode(&chunk, payload));
}

static void on_time_request(rtl_device *d, const rtl_time_request *request) {
    const rtl_time_reply reply = {
        .host_ns = request->host_ns,
        .t2_us = d->received_us,
        .t3_us = rtl_now_us(d),
    };
    uint8_t payload[RTL_PAYLOAD_MAX];
    rtl_send_packet(d, RTL_TYPE_TIME_REPLY, payload, rtl_time_reply_encode(&reply, payload));
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* Returns whether the packet was understood. */
static bool dispatch(rtl_device *d, const rtl_header *header, const uint8_t *payload, size_t size) {
    union {
        rtl_hello hello;
        rtl_schema_request schema_request;
        rtl_time_request time_request;
        rtl_command command;
        rtl_arm arm;
        rtl_histogram_request histogram_request;
    } m;
    switch (header->type) {
        case RTL_TYPE_HELLO:
            if (!rtl_hello_decode(payload, size, &m.hello)) return false;
            on_hello(d, &m.hello);
            return true;
        case RTL_TYPE_SCHEMA_REQUEST:
            if (!rtl_schema_request_decode(payload, size, &m.schema_request)) return false;
            on_schema_request(d, &m.schema_request);
            return true;
        case RTL_TYPE_TIME_REQUEST:
            if (!rtl_time_request_decode(payload, size, &m.time_request)) return false;
            on_time_request(d, &m.time_request);
            return true;
        case RTL_TYPE_COMMAND:
            if (!rtl_command_decode(payload, size, &m.command)) return false;
            if (m.command.count != d->description.n_command) return false;
            rtl_on_command(d, &m.command, header);
            return true;
        case RTL_TYPE_ARM:
            if (!rtl_arm_decode(payload, size, &m.arm)) return false;
            if (m.arm.loop_class > RTL_CLASS_SOFT) return false;
            rtl_on_arm(d, &m.arm);
            return true;
        case RTL_TYPE_CLEAR:
            rtl_on_clear(d);
            return true;
        case RTL_TYPE_STOP:
            rtl_on_stop(d, payload, size);
            return true;
        case RTL_TYPE_STATUS_REQUEST:
            rtl_send_status(d, d->reasons);
            return true;
        case RTL_TYPE_STATS_REQUEST:
            return rtl_on_stats_request(d);
        case RTL_TYPE_HISTOGRAM_REQUEST:
            return rtl_histogram_request_decode(payload, size, &m.histogram_request) &&
                   rtl_on_histogram_request(d, &m.histogram_request);
        default:
            return false;
    }
}

/* HELLO and SCHEMA_REQUEST are how a host learns the schema; a STOP is obeyed from anyone. */
static bool needs_schema(uint8_t type) {
    return type != RTL_TYPE_HELLO && type != RTL_TYPE_SCHEMA_REQUEST && type != RTL_TYPE_STOP;
}

/* Whether a packet goes on with the count, or was overtaken in it. */
static bool fits(const rtl_sequence *s, const rtl_header *header) {
    const int32_t older_us = rtl_time_difference_us(s->newest_us, header->time_us);
    const unsigned ahead = (uint16_t)(header->seq - s->newest);
    const unsigned back = (uint16_t)(s->newest - header->seq);
    const bool goes_on = ahead <= RTL_SEQUENCE_WINDOW && older_us <= 0;
    const bool was_overtaken =
        back <= s->span && older_us > 0 && older_us <= RTL_SEQUENCE_LATE_MAX_US;
    return s->is_known && (goes_on || was_overtaken);
}

/* A host that starts anew says HELLO; a STOP may have been made up long ahead. */
static rtl_arrival follow_seq(rtl_device *d, const rtl_header *header) {
    rtl_sequence *const s = &d->sequence;
    const bool is_past = rtl_time_difference_us(s->newest_us, header->time_us) > 0;
    if (header->type == RTL_TYPE_STOP && !fits(s, header)) {
        return RTL_ARRIVAL_OLD;
    }
    if (header->type == RTL_TYPE_HELLO && !(is_past && fits(s, header))) {
        rtl_sequence_begin(s, header->seq, header->time_us);
        return RTL_ARRIVAL_NEWEST;
    }
    return rtl_sequence_take(s, header->seq, header->time_us);
}

/* What was overtaken undoes nothing that came after it; what came before is not done again. STOP
 * always is. */
static bool is_history(const rtl_header *header, rtl_arrival arrival) {
    const bool changes_state = header->type == RTL_TYPE_ARM || header->type == RTL_TYPE_CLEAR;
    return header->type != RTL_TYPE_STOP && arrival != RTL_ARRIVAL_NEWEST &&
           (arrival != RTL_ARRIVAL_LATE || changes_state);
}

static bool is_same(const rtl_peer *a, const rtl_peer *b) {
    return a->transport == b->transport && a->address.size == b->address.size &&
           memcmp(a->address.bytes, b->address.bytes, a->address.size) == 0;
}

/* The host is on the other transport, or at another address. */
static bool is_elsewhere(const rtl_device *d, const rtl_peer *from) {
    return d->peer_is_known && !is_same(&d->peer, from);
}

/* A HELLO makes its sender the host; what a STOP has shown of another one is forgotten. */
static void receive_elsewhere(rtl_device *d, const rtl_peer *from, const rtl_header *header,
                              const uint8_t *payload, size_t size) {
    const bool may_take_over = header->type == RTL_TYPE_HELLO && d->state != RTL_STATE_ACTIVE;
    if (!may_take_over && header->type != RTL_TYPE_STOP) {
        return;
    }
    d->rx_packets++;
    d->rx_seq = header->seq;
    d->answer_to = *from;
    dispatch(d, header, payload, size);
    d->answer_to = d->peer;
    if (!is_elsewhere(d, from)) {
        rtl_sequence_begin(&d->sequence, header->seq, header->time_us);
    }
    d->rx_seq = d->sequence.newest;
}

static void take_packet(rtl_device *d, const rtl_header *header, const uint8_t *payload,
                        size_t size) {
    if (needs_schema(header->type) && header->schema_id != d->schema_id) {
        d->rejected_commands += header->type == RTL_TYPE_COMMAND;
        rtl_note_event(d, RTL_EVENT_SCHEMA_MISMATCH);
        return;
    }
    if (!dispatch(d, header, payload, size)) {
        d->rejected_commands += header->type == RTL_TYPE_COMMAND;
        rtl_note_event(d, RTL_EVENT_BAD_PACKET);
    }
}

static void receive_packet(rtl_device *d, const rtl_peer *from, const uint8_t *packet,
                           size_t packet_size) {
    rtl_header header;
    const uint8_t *payload;
    size_t size;
    const rtl_status status = rtl_packet_decode(packet, packet_size, &header, &payload, &size);
    if (is_elsewhere(d, from)) {
        if (status == RTL_OK) {
            receive_elsewhere(d, from, &header, payload, size);
        }
        return;
    }
    d->answer_to = *from;
    if (status == RTL_VERSION) { /* intact, so no damage of the line */
        d->frame_errors++;
        d->consecutive_link_errors = 0;
        rtl_note_event(d, RTL_EVENT_BAD_PACKET);
        return;
    }
    if (status != RTL_OK) {
        if (status == RTL_CRC) {
            d->crc_errors++;
        } else {
            d->frame_errors++;
        }
        rtl_note_link_error(d);
        return;
    }
    const rtl_arrival arrival = follow_seq(d, &header);
    d->rx_packets += arrival != RTL_ARRIVAL_COPY;
    d->seq_gaps = d->sequence.lost;
    d->consecutive_link_errors = 0;
    if (is_history(&header, arrival)) {
        d->rejected_commands += header.type == RTL_TYPE_COMMAND;
        return;
    }
    d->rx_seq = header.seq;
    take_packet(d, &header, payload, size);
    d->rx_seq = d->sequence.is_known ? d->sequence.newest : header.seq;
}

static void begin_receiving(rtl_device *d, uint64_t arrived_us) {
    const uint64_t now = rtl_now_us(d);
    d->received_us = arrived_us < now ? arrived_us : now;
    rtl_take_trips(d);
}

void rtl_device_receive_packet_from(rtl_device *device, const rtl_address *from,
                                    const uint8_t *packet, size_t size, uint64_t arrived_us) {
    const rtl_peer peer = {.transport = RTL_TRANSPORT_PACKETS, .address = *from};
    if (device->hardware.transmit_packet == NULL) {
        return;
    }
    begin_receiving(device, arrived_us);
    receive_packet(device, &peer, packet, size);
}

void rtl_device_receive_packet(rtl_device *device, const uint8_t *packet, size_t size,
                               uint64_t arrived_us) {
    const rtl_address the_other_end = {0};
    rtl_device_receive_packet_from(device, &the_other_end, packet, size, arrived_us);
}

void rtl_device_receive(rtl_device *device, const uint8_t *bytes, size_t n, uint64_t arrived_us) {
    if (device->hardware.transmit == NULL) {
        return;
    }
    const rtl_peer line = {.transport = RTL_TRANSPORT_STREAM};
    begin_receiving(device, arrived_us);
    while (n > 0) {
        const uint8_t *packet;
        size_t size;
        const uint32_t errors = device->decoder.errors;
        const size_t used = rtl_frame_decoder_feed(&device->decoder, bytes, n, &packet, &size);
        for (uint32_t i = errors; i != device->decoder.errors && !is_elsewhere(device, &line);
             ++i) {
            device->frame_errors++;
            rtl_note_link_error(device);
        }
        if (size > 0) {
            receive_packet(device, &line, packet, size);
        }
        bytes += used;
        n -= used;
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

static void send_sensor(rtl_device *d) {
    rtl_sensor sensor;
    const uint64_t sample_us = d->hardware.sample(d->hardware.context, sensor.values);
    sensor.sample_time_us = (uint32_t)sample_us;
    rtl_take_trips(d); /* sampling may have taken long, and may have tripped */
    sensor.state = (uint8_t)d->state;
    sensor.count = d->description.n_sensor;
    sensor.reasons = d->reasons;
    sensor.command_seq = d->command_seq;
    sensor.late_commands = (uint16_t)d->late_commands;
    uint8_t payload[RTL_PAYLOAD_MAX];
    rtl_account_sensor_sent(d, d->tx_seq, sample_us);
    rtl_send_packet(d, RTL_TYPE_SENSOR, payload, rtl_sensor_encode(&sensor, payload));
}

static bool is_sampling(const rtl_device *d) {
    return d->state != RTL_STATE_INIT && d->peer_is_known;
}

static void send_due_sensor(rtl_device *d, uint64_t now) {
    if (!is_sampling(d) || now < d->next_sensor_us) {
        return;
    }
    const uint64_t period_us = d->description.sensor_period_us;
    d->next_sensor_us = (now / period_us + 1) * period_us;
    send_sensor(d);
    rtl_send_due_stats(d, now);
}

void rtl_device_tick(rtl_device *device) {
    const uint64_t now = rtl_now_us(device);
    rtl_take_trips(device);
    rtl_watch_command_timeout(device, now);
    send_due_sensor(device, now);
    if (device->peer_is_known) {
        rtl_send_events(device, now);
    }
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

uint64_t rtl_device_next_sample_us(const rtl_device *device) {
    return is_sampling(device) ? device->next_sensor_us : RTL_NEVER_US;
}

uint64_t rtl_device_next_due_us(const rtl_device *device) {
    uint64_t due_us = rtl_device_next_sample_us(device);
    if (device->state != RTL_STATE_INIT && rtl_is_tripped(device)) {
        return 0;
    }
    if (device->state == RTL_STATE_ACTIVE) {
        const uint64_t last_us = device->last_command_us + device->arm.command_timeout_us;
        due_us = earlier(due_us, last_us + 1);
    }
    const uint64_t event_us = rtl_event_queue_due_us(&device->events);
    if (device->peer_is_known && event_us != RTL_NEVER_US) {
        const uint64_t retry_us = device->next_event_us;
        due_us = earlier(due_us, event_us > retry_us ? event_us : retry_us);
    }
    return due_us;
}

/* ---- start ----------------------------------------------------------------------------------- */

static bool is_complete(const rtl_hardware *hardware) {
    return hardware->now_us != NULL && hardware->sample != NULL && hardware->apply != NULL &&
           hardware->safe != NULL &&
           (hardware->transmit != NULL || hardware->transmit_packet != NULL);
}

static bool is_valid(const rtl_description *own) {
    return own->name != NULL && own->schema != NULL && strlen(own->schema) <= UINT16_MAX &&
           own->n_sensor <= RTL_VALUES_MAX && own->n_command <= RTL_VALUES_MAX &&
           own->sensor_period_us > 0 && own->command_timeout_us > 0 &&
           own->command_timeout_us <= own->command_timeout_max_us;
}

bool rtl_device_init(rtl_device *device, const rtl_hardware *hardware,
                     const rtl_description *description) {
    if (!is_complete(hardware) || !is_valid(description)) {
        return false;
    }
    memset(device, 0, sizeof *device);
    for (unsigned bit = 0; bit < RTL_REASON_BITS; ++bit) {
        atomic_init(&device->tripped[bit], false);
    }
    device->hardware = *hardware;
    device->description = *description;
    device->answer_to.transport =
        hardware->transmit != NULL ? RTL_TRANSPORT_STREAM : RTL_TRANSPORT_PACKETS;
    device->schema_bytes = (uint16_t)strlen(description->schema);
    device->schema_id = rtl_schema_id(description->schema, device->schema_bytes);
    device->state = RTL_STATE_INIT;
    device->arm.loop_class = RTL_CLASS_SOFT;
    rtl_event_queue_init(&device->events, rtl_now_us(device));
    rtl_frame_decoder_init(&device->decoder);
    if (!rtl_account_init(device)) {
        return false;
    }
    hardware->safe(hardware->context);
    return true;
}
