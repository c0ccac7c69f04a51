#include "rtloop/device.h"

#include <string.h>

/* Every reason that is defined; a STOP cannot latch others. */
#define KNOWN_REASONS 127u

static uint64_t now_us(const rtl_device *d) {
    return d->hardware.now_us(d->hardware.context);
}

/* ---- sending ------------------------------------------------------------------------------- */

static bool send_packet(rtl_device *d, rtl_type type, const uint8_t *payload, size_t size) {
    const rtl_header header = {
        .type = (uint8_t)type,
        .seq = d->tx_seq,
        .ack = d->rx_seq,
        .schema_id = d->schema_id,
        .time_us = (uint32_t)now_us(d),
    };
    uint8_t packet[RTL_PACKET_MAX];
    uint8_t frame[RTL_FRAME_MAX];
    const size_t packet_size = rtl_packet_encode(&header, payload, size, packet);
    const size_t frame_size = rtl_frame_encode(packet, packet_size, frame);
    d->tx_seq++; /* a dropped packet is a gap the host can see */
    if (!d->hardware.transmit(d->hardware.context, frame, frame_size)) {
        d->tx_dropped++;
        return false;
    }
    d->tx_packets++;
    return true;
}

/* `reasons`: those of the state, or why what was asked for was not done. */
static void send_status(rtl_device *d, uint16_t reasons) {
    const rtl_device_status status = {
        .state = (uint8_t)d->state,
        .loop_class = d->arm.loop_class,
        .reasons = reasons,
        .boot_id = d->description.boot_id,
        .rx_packets = d->rx_packets,
        .crc_errors = d->crc_errors,
        .frame_errors = d->frame_errors,
        .seq_gaps = d->seq_gaps,
        .late_commands = d->late_commands,
        .rejected_commands = d->rejected_commands,
        .command_timeouts = d->command_timeouts,
        .tx_packets = d->tx_packets,
    };
    uint8_t payload[RTL_PAYLOAD_MAX];
    send_packet(d, RTL_TYPE_STATUS, payload, rtl_device_status_encode(&status, payload));
}

static bool send_event(rtl_device *d, const rtl_event *event) {
    uint8_t payload[RTL_PAYLOAD_MAX];
    return send_packet(d, RTL_TYPE_EVENT, payload, rtl_event_encode(event, payload));
}

static void send_events(rtl_device *d, uint64_t now) {
    const rtl_event *event;
    while ((event = rtl_event_queue_next(&d->events, now)) != NULL) {
        if (!send_event(d, event)) {
            d->next_event_us = now + RTL_EVENT_INTERVAL_US;
            return;
        }
        rtl_event_queue_sent(&d->events, event);
    }
}

/* ---- states -------------------------------------------------------------------------------- */

static rtl_event *note_event(rtl_device *d, rtl_event_kind kind) {
    rtl_event *const event = rtl_event_queue_add(&d->events, kind);
    event->loop_class = d->arm.loop_class;
    event->reasons = d->reasons;
    event->time_us = (uint32_t)now_us(d);
    event->state = (uint8_t)d->state;
    return event;
}

static void enter(rtl_device *d, rtl_state state) {
    d->state = state;
    note_event(d, RTL_EVENT_STATE_CHANGE);
    if (d->hardware.state_changed != NULL) {
        d->hardware.state_changed(d->hardware.context, state, d->reasons);
    }
}

static void enter_safe(rtl_device *d, unsigned reasons) {
    if (d->state == RTL_STATE_INIT) {
        return;
    }
    d->hardware.safe(d->hardware.context);
    const uint16_t all_reasons = (uint16_t)(d->reasons | reasons);
    if (d->state != RTL_STATE_SAFE || all_reasons != d->reasons) {
        d->reasons = all_reasons;
        enter(d, RTL_STATE_SAFE);
    }
}

/* What interrupts have tripped since the last look. Their `safe` may have met an `apply`. */
static void take_trips(rtl_device *d) {
    unsigned reasons = 0;
    if (d->state == RTL_STATE_INIT) {
        return;
    }
    for (unsigned bit = 0; bit < RTL_REASON_BITS; ++bit) {
        if (atomic_load(&d->tripped[bit])) {
            atomic_store(&d->tripped[bit], false);
            reasons |= 1u << bit;
        }
    }
    if (reasons != 0) {
        enter_safe(d, reasons);
    }
}

static void count_up(uint16_t *counter) {
    if (*counter < UINT16_MAX) {
        ++*counter;
    }
}

static void note_link_error(rtl_device *d) {
    note_event(d, RTL_EVENT_BAD_PACKET);
    count_up(&d->consecutive_link_errors);
    const uint16_t limit = d->description.max_link_errors;
    if (d->state == RTL_STATE_ACTIVE && limit > 0 && d->consecutive_link_errors >= limit) {
        enter_safe(d, RTL_REASON_LINK_ERRORS);
    }
}

/* ---- commands ------------------------------------------------------------------------------ */

/* By the bits: isfinite() may be compiled away under -ffast-math. */
static bool is_finite(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (bits & 0x7f800000u) != 0x7f800000u;
}

static unsigned trouble_with(const rtl_device *d, const rtl_command *command) {
    unsigned trouble = 0;
    const float *const min = d->hardware.command_min;
    const float *const max = d->hardware.command_max;
    for (size_t i = 0; i < command->count; ++i) {
        const float value = command->values[i];
        if (!is_finite(value)) {
            trouble |= RTL_REASON_NON_FINITE;
        } else if ((min != NULL && value < min[i]) || (max != NULL && value > max[i])) {
            trouble |= RTL_REASON_LIMIT;
        }
    }
    return trouble;
}

static void refuse_late_command(rtl_device *d, const rtl_command *command, int32_t lateness_us) {
    d->late_commands++;
    count_up(&d->consecutive_late);
    rtl_event *const event = note_event(d, RTL_EVENT_LATE_COMMAND);
    event->valid_until_us = command->valid_until_us;
    event->lateness_us = lateness_us;
    if (d->arm.max_late_commands > 0 && d->consecutive_late >= d->arm.max_late_commands) {
        enter_safe(d, RTL_REASON_DEADLINE_MISSES);
    }
}

static void apply_command(rtl_device *d, const rtl_command *command, uint16_t seq) {
    d->consecutive_late = 0;
    d->command_seq = seq;
    d->command_seq_is_known = true;
    d->last_command_us = d->received_us;
    if (d->state == RTL_STATE_ARMED) {
        enter(d, RTL_STATE_ACTIVE);
    }
    take_trips(d);
    if (d->state == RTL_STATE_ACTIVE) { /* the machine may have tripped when it heard of it */
        d->hardware.apply(d->hardware.context, command->values);
        take_trips(d);
    }
}

/* Applied already, or older: a line that repeats itself must not keep the machine moving. */
static bool is_repeated(const rtl_device *d, uint16_t seq) {
    return d->command_seq_is_known && (uint16_t)(seq - d->command_seq - 1u) >= 0x8000u;
}

static void on_command(rtl_device *d, const rtl_command *command, uint16_t seq) {
    if ((d->state != RTL_STATE_ARMED && d->state != RTL_STATE_ACTIVE) || is_repeated(d, seq)) {
        d->rejected_commands++;
        return;
    }
    const int32_t lateness_us =
        rtl_time_difference_us((uint32_t)d->received_us, command->valid_until_us);
    if (lateness_us > 0) {
        refuse_late_command(d, command, lateness_us);
        return;
    }
    const uint32_t timeout_us = d->arm.command_timeout_us;
    /* Valid for longer than the host may be silent: its clock, or ours, is not what it believes.
     * Or in time, but we were stopped for so long that it is history. */
    if ((int64_t)lateness_us < -(int64_t)timeout_us || now_us(d) - d->received_us > timeout_us) {
        d->rejected_commands++;
        return;
    }
    const unsigned trouble = trouble_with(d, command);
    if (trouble != 0) {
        d->rejected_commands++;
        enter_safe(d, trouble);
        return;
    }
    apply_command(d, command, seq);
}

/* ---- the other requests -------------------------------------------------------------------- */

/* So that a host can see that an ARM was obeyed in this, too. */
static uint32_t command_timeout_us(const rtl_device *d) {
    const bool is_armed = d->state == RTL_STATE_ARMED || d->state == RTL_STATE_ACTIVE;
    return is_armed ? d->arm.command_timeout_us : d->description.command_timeout_us;
}

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
        .command_timeout_us = command_timeout_us(d),
        .boot_id = d->description.boot_id,
    };
    const char *const name = d->description.name;
    for (size_t i = 0; i + 1 < RTL_NAME_SIZE && name[i] != '\0'; ++i) {
        reply.name[i] = name[i];
    }
    uint8_t payload[RTL_PAYLOAD_MAX];
    send_packet(d, RTL_TYPE_HELLO_REPLY, payload, rtl_hello_reply_encode(&reply, payload));
    if (in_common && !d->peer_is_known) {
        const uint64_t period_us = d->description.sensor_period_us;
        d->next_sensor_us = (now_us(d) / period_us + 1) * period_us;
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
    send_packet(d, RTL_TYPE_SCHEMA_CHUNK, payload, rtl_schema_chunk_encode(&chunk, payload));
}

static void on_time_request(rtl_device *d, const rtl_time_request *request) {
    const rtl_time_reply reply = {
        .host_ns = request->host_ns,
        .t2_us = d->received_us,
        .t3_us = now_us(d),
    };
    uint8_t payload[RTL_PAYLOAD_MAX];
    send_packet(d, RTL_TYPE_TIME_REPLY, payload, rtl_time_reply_encode(&reply, payload));
}

static uint16_t veto(const rtl_device *d, rtl_type request) {
    return d->hardware.veto == NULL ? 0 : d->hardware.veto(d->hardware.context, request);
}

/* Why not, 0: nothing is against it. A timeout beyond the maximum is not cut: the host would go on
 * believing in its own. */
static uint16_t reasons_against_arming(const rtl_device *d, const rtl_arm *arm) {
    if (arm->command_timeout_us > d->description.command_timeout_max_us) {
        return RTL_REASON_COMMAND_TIMEOUT;
    }
    return d->state == RTL_STATE_IDLE ? veto(d, RTL_TYPE_ARM) : 0;
}

/* ARM while ARMED is taken again: the host may not have seen the answer to the first. */
static void on_arm(rtl_device *d, const rtl_arm *arm) {
    if (d->state != RTL_STATE_IDLE && d->state != RTL_STATE_ARMED) {
        send_status(d, d->reasons);
        return;
    }
    const uint16_t against = reasons_against_arming(d, arm);
    if (against == 0) {
        d->arm = *arm;
        if (arm->command_timeout_us == 0) {
            d->arm.command_timeout_us = d->description.command_timeout_us;
        }
        d->consecutive_late = 0;
        d->command_seq_is_known = false;
        if (d->state == RTL_STATE_IDLE) {
            enter(d, RTL_STATE_ARMED);
        }
    }
    send_status(d, d->state == RTL_STATE_SAFE ? d->reasons : against);
}

static void on_clear(rtl_device *d) {
    const uint16_t against = d->state == RTL_STATE_SAFE ? veto(d, RTL_TYPE_CLEAR) : 0;
    if (against != 0) {
        enter_safe(d, against);
    } else if (d->state == RTL_STATE_SAFE) {
        d->reasons = 0;
        enter(d, RTL_STATE_IDLE);
    }
    send_status(d, d->reasons);
}

/* A STOP is obeyed whatever its payload says. */
static void on_stop(rtl_device *d, const uint8_t *payload, size_t size) {
    rtl_stop stop = {0};
    rtl_stop_decode(payload, size, &stop);
    const unsigned reasons = stop.reason_bits & KNOWN_REASONS;
    enter_safe(d, reasons != 0 ? reasons : RTL_REASON_HOST_STOP);
    send_status(d, d->reasons);
}

/* ---- receiving ----------------------------------------------------------------------------- */

/* Returns whether the packet was understood. */
static bool dispatch(rtl_device *d, const rtl_header *header, const uint8_t *payload, size_t size) {
    union {
        rtl_hello hello;
        rtl_schema_request schema_request;
        rtl_time_request time_request;
        rtl_command command;
        rtl_arm arm;
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
            on_command(d, &m.command, header->seq);
            return true;
        case RTL_TYPE_ARM:
            if (!rtl_arm_decode(payload, size, &m.arm)) return false;
            if (m.arm.loop_class > RTL_CLASS_SOFT) return false;
            on_arm(d, &m.arm);
            return true;
        case RTL_TYPE_CLEAR:
            on_clear(d);
            return true;
        case RTL_TYPE_STOP:
            on_stop(d, payload, size);
            return true;
        case RTL_TYPE_STATUS_REQUEST:
            send_status(d, d->reasons);
            return true;
        default:
            return false;
    }
}

/* HELLO and SCHEMA_REQUEST are how a host learns the schema; a STOP is obeyed from anyone. */
static bool needs_schema(uint8_t type) {
    return type != RTL_TYPE_HELLO && type != RTL_TYPE_SCHEMA_REQUEST && type != RTL_TYPE_STOP;
}

/* A host that starts anew says HELLO; a STOP may have been made up long ahead. */
static void follow_seq(rtl_device *d, const rtl_header *header) {
    const bool is_beginning = header->type == RTL_TYPE_HELLO || header->type == RTL_TYPE_STOP;
    const uint16_t missing = (uint16_t)(header->seq - d->rx_seq - 1u);
    const bool is_ahead = missing < 0x8000u; /* half the range back is a beginning, too */
    if (d->rx_seq_is_known && !is_beginning && is_ahead) {
        d->seq_gaps += missing;
    }
    d->rx_seq = header->seq;
    d->rx_seq_is_known = true;
}

static void receive_packet(rtl_device *d, const uint8_t *packet, size_t packet_size) {
    rtl_header header;
    const uint8_t *payload;
    size_t size;
    const rtl_status status = rtl_packet_decode(packet, packet_size, &header, &payload, &size);
    if (status == RTL_VERSION) { /* intact, so no damage of the line */
        d->frame_errors++;
        d->consecutive_link_errors = 0;
        note_event(d, RTL_EVENT_BAD_PACKET);
        return;
    }
    if (status != RTL_OK) {
        if (status == RTL_CRC) {
            d->crc_errors++;
        } else {
            d->frame_errors++;
        }
        note_link_error(d);
        return;
    }
    d->rx_packets++;
    d->consecutive_link_errors = 0;
    follow_seq(d, &header);
    if (needs_schema(header.type) && header.schema_id != d->schema_id) {
        d->rejected_commands += header.type == RTL_TYPE_COMMAND;
        note_event(d, RTL_EVENT_SCHEMA_MISMATCH);
        return;
    }
    if (!dispatch(d, &header, payload, size)) {
        d->rejected_commands += header.type == RTL_TYPE_COMMAND;
        note_event(d, RTL_EVENT_BAD_PACKET);
    }
}

void rtl_device_receive(rtl_device *device, const uint8_t *bytes, size_t n, uint64_t arrived_us) {
    const uint64_t now = now_us(device);
    device->received_us = arrived_us < now ? arrived_us : now;
    take_trips(device);
    while (n > 0) {
        const uint8_t *packet;
        size_t size;
        const uint32_t errors = device->decoder.errors;
        const size_t used = rtl_frame_decoder_feed(&device->decoder, bytes, n, &packet, &size);
        for (uint32_t i = errors; i != device->decoder.errors; ++i) {
            device->frame_errors++;
            note_link_error(device);
        }
        if (size > 0) {
            receive_packet(device, packet, size);
        }
        bytes += used;
        n -= used;
    }
}

/* ---- time ---------------------------------------------------------------------------------- */

static void send_sensor(rtl_device *d) {
    rtl_sensor sensor;
    sensor.sample_time_us = (uint32_t)d->hardware.sample(d->hardware.context, sensor.values);
    take_trips(d); /* sampling may have taken long, and may have tripped */
    sensor.state = (uint8_t)d->state;
    sensor.count = d->description.n_sensor;
    sensor.reasons = d->reasons;
    sensor.command_seq = d->command_seq;
    sensor.late_commands = (uint16_t)d->late_commands;
    uint8_t payload[RTL_PAYLOAD_MAX];
    send_packet(d, RTL_TYPE_SENSOR, payload, rtl_sensor_encode(&sensor, payload));
}

static bool is_sampling(const rtl_device *d) {
    return d->state != RTL_STATE_INIT && d->peer_is_known;
}

static void watch_command_timeout(rtl_device *d, uint64_t now) {
    if (d->state == RTL_STATE_ACTIVE && now - d->last_command_us > d->arm.command_timeout_us) {
        d->command_timeouts++;
        enter_safe(d, RTL_REASON_COMMAND_TIMEOUT);
    }
}

static void send_due_sensor(rtl_device *d, uint64_t now) {
    if (!is_sampling(d) || now < d->next_sensor_us) {
        return;
    }
    const uint64_t period_us = d->description.sensor_period_us;
    d->next_sensor_us = (now / period_us + 1) * period_us;
    send_sensor(d);
}

void rtl_device_tick(rtl_device *device) {
    const uint64_t now = now_us(device);
    take_trips(device);
    watch_command_timeout(device, now);
    send_due_sensor(device, now);
    if (device->peer_is_known) {
        send_events(device, now);
    }
}

static bool is_tripped(const rtl_device *d) {
    for (unsigned bit = 0; bit < RTL_REASON_BITS; ++bit) {
        if (atomic_load(&d->tripped[bit])) {
            return true;
        }
    }
    return false;
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

uint64_t rtl_device_next_due_us(const rtl_device *device) {
    uint64_t due_us = RTL_NEVER_US;
    if (device->state != RTL_STATE_INIT && is_tripped(device)) {
        return 0;
    }
    if (is_sampling(device)) {
        due_us = device->next_sensor_us;
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

static unsigned or_hardware(uint16_t reasons) {
    return reasons != 0 ? reasons : RTL_REASON_HARDWARE;
}

void rtl_device_trip(rtl_device *device, uint16_t reasons) {
    enter_safe(device, or_hardware(reasons));
}

void rtl_device_trip_from_isr(rtl_device *device, uint16_t reasons) {
    for (unsigned bit = 0; bit < RTL_REASON_BITS; ++bit) {
        if ((or_hardware(reasons) & 1u << bit) != 0) {
            atomic_store(&device->tripped[bit], true);
        }
    }
    device->hardware.safe(device->hardware.context);
}

/* ---- start --------------------------------------------------------------------------------- */

static bool is_complete(const rtl_hardware *hardware) {
    return hardware->now_us != NULL && hardware->sample != NULL && hardware->apply != NULL &&
           hardware->safe != NULL && hardware->transmit != NULL;
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
    device->schema_bytes = (uint16_t)strlen(description->schema);
    device->schema_id = rtl_schema_id(description->schema, device->schema_bytes);
    device->state = RTL_STATE_INIT;
    device->arm.loop_class = RTL_CLASS_SOFT;
    rtl_event_queue_init(&device->events, now_us(device));
    rtl_frame_decoder_init(&device->decoder);
    hardware->safe(hardware->context);
    return true;
}

void rtl_device_ready(rtl_device *device) {
    if (device->state == RTL_STATE_INIT) {
        enter(device, RTL_STATE_IDLE);
    }
}
