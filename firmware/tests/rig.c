#include "rig.h"

#include <string.h>

/* Names so long that the text takes more than two chunks. */
#define LONG_TAIL                                                                     \
    "_with_a_name_that_takes_more_room_than_any_sensible_name_would_take_so_that_the" \
    "_text_does_not_fit_into_one_or_two_packets_and_has_to_be_asked_for_in_pieces"

const char rig_schema[] =
    "rtloop-schema 1\n"
    "name rig\n"
    "sensor position" LONG_TAIL
    " m f32 1000\n"
    "sensor velocity" LONG_TAIL
    " m/s f32 1000\n"
    "command force" LONG_TAIL " N f32 1000\n";

static const float limit_min[] = {-RIG_LIMIT};
static const float limit_max[] = {RIG_LIMIT};

/* ---- the machine --------------------------------------------------------------------------- */

static uint64_t now_us(void *context) {
    return ((const rig *)context)->now_us;
}

static uint64_t sample(void *context, float *values) {
    const rig *const r = context;
    values[0] = 1.5f;
    values[1] = -2.5f;
    return r->now_us - r->sample_age_us;
}

static void apply(void *context, const float *values) {
    rig *const r = context;
    if (r->isr_when_applied != 0) {
        rtl_device_trip_from_isr(&r->device, r->isr_when_applied);
    }
    r->applied++;
    r->applied_value = values[0];
    r->moved_outside_active += r->device.state != RTL_STATE_ACTIVE;
    if (r->trips_when_applied != 0) {
        rtl_device_trip(&r->device, r->trips_when_applied);
    }
}

static void safe(void *context) {
    rig *const r = context;
    r->safe_calls++;
    r->applied_value = 0.0f;
}

static uint16_t veto(void *context, rtl_type request) {
    rig *const r = context;
    r->vetoes_asked++;
    r->received_bad += request != RTL_TYPE_ARM && request != RTL_TYPE_CLEAR;
    return r->veto;
}

static void state_changed(void *context, rtl_state state, uint16_t reasons) {
    rig *const r = context;
    r->changes++;
    r->last_change = state;
    r->last_change_reasons = reasons;
    r->safe_calls_at_last_change = r->safe_calls;
    if (state == RTL_STATE_ACTIVE && r->trips_when_active != 0) {
        rtl_device_trip(&r->device, r->trips_when_active);
    }
    if (state == RTL_STATE_ARMED && r->trips_when_armed != 0) {
        rtl_device_trip(&r->device, r->trips_when_armed);
    }
}

/* ---- the host's end of the line ------------------------------------------------------------ */

static bool take_payload(rig *r, uint8_t type, const uint8_t *payload, size_t size) {
    rtl_event event;
    switch (type) {
        case RTL_TYPE_HELLO_REPLY:
            return rtl_hello_reply_decode(payload, size, &r->hello_reply);
        case RTL_TYPE_SCHEMA_CHUNK:
            return rtl_schema_chunk_decode(payload, size, &r->schema_chunk);
        case RTL_TYPE_TIME_REPLY:
            return rtl_time_reply_decode(payload, size, &r->time_reply);
        case RTL_TYPE_SENSOR:
            return rtl_sensor_decode(payload, size, &r->sensor);
        case RTL_TYPE_STATUS:
            return rtl_device_status_decode(payload, size, &r->status);
        case RTL_TYPE_STATS:
            return rtl_stats_decode(payload, size, &r->stats);
        case RTL_TYPE_HISTOGRAM:
            return rtl_histogram_counts_decode(payload, size, &r->histogram);
        case RTL_TYPE_EVENT:
            if (!rtl_event_decode(payload, size, &event) || event.event == 0 ||
                event.event >= RTL_EVENT_KINDS) {
                return false;
            }
            r->events[event.event] = event;
            r->received_events[event.event]++;
            return true;
        default:
            return false;
    }
}

static bool transmit(void *context, const uint8_t *bytes, size_t n) {
    rig *const r = context;
    if (r->line_is_full) {
        return false;
    }
    const uint8_t *packet;
    const uint8_t *payload;
    size_t size;
    const size_t used = rtl_frame_decoder_feed(&r->decoder, bytes, n, &packet, &size);
    const bool is_good =
        used == n && size > 0 &&
        rtl_packet_decode(packet, size, &r->last_header, &payload, &size) == RTL_OK &&
        r->last_header.type < RIG_TYPES && take_payload(r, r->last_header.type, payload, size);
    r->received_bad += !is_good;
    if (is_good) {
        r->received[r->last_header.type]++;
    }
    return true;
}

void rig_receive(rig *r, const uint8_t *bytes, size_t n) {
    const uint64_t arrived_us = r->now_us;
    r->now_us += r->delay_us;
    rtl_device_receive(&r->device, bytes, n, arrived_us);
}

void rig_send(rig *r, rtl_type type, const uint8_t *payload, size_t size) {
    const rtl_header header = {
        .type = (uint8_t)type,
        .seq = r->tx_seq++,
        .ack = r->ack,
        .schema_id = r->schema_id,
        .time_us = (uint32_t)r->now_us,
    };
    uint8_t packet[RTL_PACKET_MAX];
    uint8_t frame[RTL_FRAME_MAX];
    const size_t packet_size = rtl_packet_encode(&header, payload, size, packet);
    rig_receive(r, frame, rtl_frame_encode(packet, packet_size, frame));
}

void rig_send_plain(rig *r, rtl_type type) {
    rig_send(r, type, NULL, 0);
}

void rig_send_hello(rig *r, uint8_t min_version, uint8_t max_version) {
    const rtl_hello hello = {min_version, max_version};
    uint8_t payload[RTL_PAYLOAD_MAX];
    rig_send(r, RTL_TYPE_HELLO, payload, rtl_hello_encode(&hello, payload));
}

void rig_send_arm(rig *r, rtl_class loop_class, uint16_t max_late, uint32_t timeout_us) {
    const rtl_arm arm = {(uint8_t)loop_class, max_late, timeout_us};
    uint8_t payload[RTL_PAYLOAD_MAX];
    rig_send(r, RTL_TYPE_ARM, payload, rtl_arm_encode(&arm, payload));
}

void rig_send_stop(rig *r, uint16_t reasons) {
    const rtl_stop stop = {reasons};
    uint8_t payload[RTL_PAYLOAD_MAX];
    rig_send(r, RTL_TYPE_STOP, payload, rtl_stop_encode(&stop, payload));
}

static size_t encode_command(const rig *r, float value, int32_t valid_for_us, uint8_t *payload) {
    const rtl_command command = {
        .valid_until_us = (uint32_t)r->now_us + (uint32_t)valid_for_us,
        .count = 1,
        .values = {value},
    };
    return rtl_command_encode(&command, payload);
}

void rig_send_command(rig *r, float value, int32_t valid_for_us) {
    uint8_t payload[RTL_PAYLOAD_MAX];
    rig_send(r, RTL_TYPE_COMMAND, payload, encode_command(r, value, valid_for_us, payload));
}

void rig_send_damaged(rig *r) {
    const rtl_header header = {.type = RTL_TYPE_COMMAND, .schema_id = r->schema_id};
    uint8_t payload[RTL_PAYLOAD_MAX];
    uint8_t packet[RTL_PACKET_MAX];
    uint8_t frame[RTL_FRAME_MAX];
    const size_t size = encode_command(r, 9.0f, 1000, payload);
    const size_t packet_size = rtl_packet_encode(&header, payload, size, packet);
    packet[RTL_HEADER_SIZE + 9] ^= 4; /* in the value */
    rig_receive(r, frame, rtl_frame_encode(packet, packet_size, frame));
}

/* ---- the course of things ------------------------------------------------------------------ */

rtl_hardware rig_hardware(rig *r) {
    return (rtl_hardware){
        .context = r,
        .now_us = now_us,
        .sample = sample,
        .apply = apply,
        .safe = safe,
        .transmit = transmit,
        .veto = veto,
        .state_changed = state_changed,
        .command_min = limit_min,
        .command_max = limit_max,
    };
}

rtl_description rig_description(void) {
    return (rtl_description){
        .name = "rig",
        .schema = rig_schema,
        .n_sensor = 2,
        .n_command = 1,
        .max_link_errors = RIG_LINK_ERRORS,
        .sensor_period_us = RIG_PERIOD_US,
        .command_timeout_us = RIG_TIMEOUT_US,
        .command_timeout_max_us = RIG_TIMEOUT_MAX_US,
        .boot_id = 77,
    };
}

static void init(rig *r, uint64_t now, rtl_device_account *account) {
    r->now_us = now;
    r->applied_value = -1.0f;
    rtl_frame_decoder_init(&r->decoder);
    const rtl_hardware hardware = rig_hardware(r);
    rtl_description description = rig_description();
    description.account = account;
    if (!rtl_device_init(&r->device, &hardware, &description)) {
        r->received_bad++;
    }
    r->schema_id = rtl_schema_id(rig_schema, strlen(rig_schema));
}

void rig_init(rig *r, uint64_t now) {
    memset(r, 0, sizeof *r);
    init(r, now, NULL);
}

void rig_init_accounting(rig *r, uint64_t now, const rtl_loop_terms *terms) {
    memset(r, 0, sizeof *r);
    r->account.loop.terms = *terms;
    init(r, now, &r->account);
}

void rig_open(rig *r) {
    rtl_device_ready(&r->device);
    rig_send_hello(r, 1, 1);
}

void rig_arm(rig *r) {
    rig_open(r);
    rig_send_arm(r, RTL_CLASS_FIRM, 0, 0);
}

void rig_activate(rig *r) {
    rig_arm(r);
    rig_send_command(r, 1.0f, 1000);
}

void rig_run(rig *r, uint64_t us) {
    const uint64_t end_us = r->now_us + us;
    for (;;) {
        const uint64_t next_us = (r->now_us / RIG_PERIOD_US + 1) * RIG_PERIOD_US;
        if (next_us > end_us) {
            break;
        }
        r->now_us = next_us;
        rtl_device_tick(&r->device);
    }
    r->now_us = end_us;
}

bool rig_is_safe(const rig *r, uint16_t reasons) {
    return r->device.state == RTL_STATE_SAFE && r->device.reasons == reasons &&
           r->applied_value == 0.0f && r->moved_outside_active == 0 && r->received_bad == 0;
}

unsigned rig_sleep(rig *r, uint64_t us) {
    const uint64_t end_us = r->now_us + us;
    unsigned wakes = 0;
    uint64_t due_us;
    while ((due_us = rtl_device_next_due_us(&r->device)) <= end_us) {
        r->now_us = due_us > r->now_us ? due_us : r->now_us;
        rtl_device_tick(&r->device);
        if (++wakes > us) {
            r->received_bad++; /* always due: a board would be busy for ever */
            break;
        }
    }
    r->now_us = end_us;
    return wakes;
}
