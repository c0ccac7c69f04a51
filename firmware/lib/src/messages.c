#include "rtloop/messages.h"

#include <string.h>

#include "bytes.h"

enum {
    HELLO_SIZE = 4,
    HELLO_REPLY_SIZE = 20 + (int)RTL_NAME_SIZE,
    SCHEMA_REQUEST_SIZE = 4,
    SCHEMA_CHUNK_HEAD = 4,
    TIME_REQUEST_SIZE = 8,
    TIME_REPLY_SIZE = 24,
    SENSOR_HEAD = 12,
    COMMAND_HEAD = 8,
    ARM_SIZE = 8,
    STOP_SIZE = 4,
    EVENT_SIZE = 24,
    STATUS_SIZE = 40,
};

_Static_assert(SENSOR_HEAD + 4 * RTL_VALUES_MAX == RTL_PAYLOAD_MAX, "a full SENSOR fits");
_Static_assert(SCHEMA_CHUNK_HEAD + RTL_SCHEMA_CHUNK_MAX <= RTL_PAYLOAD_MAX, "a full chunk fits");

static size_t put_values(uint8_t *p, const float *values, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        rtl_put_f32(p + 4 * i, values[i]);
    }
    return 4 * count;
}

static void get_values(const uint8_t *p, float *values, size_t count) {
    for (size_t i = 0; i < count; ++i) {
        values[i] = rtl_get_f32(p + 4 * i);
    }
}

size_t rtl_hello_encode(const rtl_hello *m, uint8_t *payload) {
    payload[0] = m->min_version;
    payload[1] = m->max_version;
    rtl_put_u16(payload + 2, 0);
    return HELLO_SIZE;
}

bool rtl_hello_decode(const uint8_t *payload, size_t size, rtl_hello *m) {
    if (size != HELLO_SIZE) {
        return false;
    }
    m->min_version = payload[0];
    m->max_version = payload[1];
    return true;
}

size_t rtl_hello_reply_encode(const rtl_hello_reply *m, uint8_t *payload) {
    payload[0] = m->version;
    payload[1] = m->state;
    rtl_put_u16(payload + 2, m->reasons);
    payload[4] = m->n_sensor;
    payload[5] = m->n_command;
    rtl_put_u16(payload + 6, m->schema_bytes);
    rtl_put_u32(payload + 8, m->sensor_period_us);
    rtl_put_u32(payload + 12, m->command_timeout_us);
    rtl_put_u32(payload + 16, m->boot_id);
    memcpy(payload + 20, m->name, RTL_NAME_SIZE);
    return HELLO_REPLY_SIZE;
}

bool rtl_hello_reply_decode(const uint8_t *payload, size_t size, rtl_hello_reply *m) {
    if (size != HELLO_REPLY_SIZE) {
        return false;
    }
    m->version = payload[0];
    m->state = payload[1];
    m->reasons = rtl_get_u16(payload + 2);
    m->n_sensor = payload[4];
    m->n_command = payload[5];
    m->schema_bytes = rtl_get_u16(payload + 6);
    m->sensor_period_us = rtl_get_u32(payload + 8);
    m->command_timeout_us = rtl_get_u32(payload + 12);
    m->boot_id = rtl_get_u32(payload + 16);
    memcpy(m->name, payload + 20, RTL_NAME_SIZE);
    m->name[RTL_NAME_SIZE - 1] = '\0';
    return true;
}

size_t rtl_schema_request_encode(const rtl_schema_request *m, uint8_t *payload) {
    rtl_put_u16(payload, m->offset);
    rtl_put_u16(payload + 2, 0);
    return SCHEMA_REQUEST_SIZE;
}

bool rtl_schema_request_decode(const uint8_t *payload, size_t size, rtl_schema_request *m) {
    if (size != SCHEMA_REQUEST_SIZE) {
        return false;
    }
    m->offset = rtl_get_u16(payload);
    return true;
}

size_t rtl_schema_chunk_encode(const rtl_schema_chunk *m, uint8_t *payload) {
    if (m->size > RTL_SCHEMA_CHUNK_MAX) {
        return 0;
    }
    rtl_put_u16(payload, m->offset);
    rtl_put_u16(payload + 2, m->total);
    memcpy(payload + SCHEMA_CHUNK_HEAD, m->bytes, m->size);
    return SCHEMA_CHUNK_HEAD + (size_t)m->size;
}

bool rtl_schema_chunk_decode(const uint8_t *payload, size_t size, rtl_schema_chunk *m) {
    if (size < SCHEMA_CHUNK_HEAD || size > SCHEMA_CHUNK_HEAD + RTL_SCHEMA_CHUNK_MAX) {
        return false;
    }
    m->offset = rtl_get_u16(payload);
    m->total = rtl_get_u16(payload + 2);
    m->size = (uint8_t)(size - SCHEMA_CHUNK_HEAD);
    memcpy(m->bytes, payload + SCHEMA_CHUNK_HEAD, m->size);
    return true;
}

size_t rtl_time_request_encode(const rtl_time_request *m, uint8_t *payload) {
    rtl_put_u64(payload, m->host_ns);
    return TIME_REQUEST_SIZE;
}

bool rtl_time_request_decode(const uint8_t *payload, size_t size, rtl_time_request *m) {
    if (size != TIME_REQUEST_SIZE) {
        return false;
    }
    m->host_ns = rtl_get_u64(payload);
    return true;
}

size_t rtl_time_reply_encode(const rtl_time_reply *m, uint8_t *payload) {
    rtl_put_u64(payload, m->host_ns);
    rtl_put_u64(payload + 8, m->t2_us);
    rtl_put_u64(payload + 16, m->t3_us);
    return TIME_REPLY_SIZE;
}

bool rtl_time_reply_decode(const uint8_t *payload, size_t size, rtl_time_reply *m) {
    if (size != TIME_REPLY_SIZE) {
        return false;
    }
    m->host_ns = rtl_get_u64(payload);
    m->t2_us = rtl_get_u64(payload + 8);
    m->t3_us = rtl_get_u64(payload + 16);
    return true;
}

size_t rtl_sensor_encode(const rtl_sensor *m, uint8_t *payload) {
    if (m->count > RTL_VALUES_MAX) {
        return 0;
    }
    rtl_put_u32(payload, m->sample_time_us);
    payload[4] = m->state;
    payload[5] = m->count;
    rtl_put_u16(payload + 6, m->reasons);
    rtl_put_u16(payload + 8, m->command_seq);
    rtl_put_u16(payload + 10, m->late_commands);
    return SENSOR_HEAD + put_values(payload + SENSOR_HEAD, m->values, m->count);
}

bool rtl_sensor_decode(const uint8_t *payload, size_t size, rtl_sensor *m) {
    if (size < SENSOR_HEAD || payload[5] > RTL_VALUES_MAX ||
        size != SENSOR_HEAD + 4 * (size_t)payload[5]) {
        return false;
    }
    m->sample_time_us = rtl_get_u32(payload);
    m->state = payload[4];
    m->count = payload[5];
    m->reasons = rtl_get_u16(payload + 6);
    m->command_seq = rtl_get_u16(payload + 8);
    m->late_commands = rtl_get_u16(payload + 10);
    get_values(payload + SENSOR_HEAD, m->values, m->count);
    return true;
}

size_t rtl_command_encode(const rtl_command *m, uint8_t *payload) {
    if (m->count > RTL_VALUES_MAX) {
        return 0;
    }
    rtl_put_u32(payload, m->valid_until_us);
    payload[4] = m->count;
    payload[5] = 0;
    rtl_put_u16(payload + 6, 0);
    return COMMAND_HEAD + put_values(payload + COMMAND_HEAD, m->values, m->count);
}

bool rtl_command_decode(const uint8_t *payload, size_t size, rtl_command *m) {
    if (size < COMMAND_HEAD || payload[4] > RTL_VALUES_MAX ||
        size != COMMAND_HEAD + 4 * (size_t)payload[4]) {
        return false;
    }
    m->valid_until_us = rtl_get_u32(payload);
    m->count = payload[4];
    get_values(payload + COMMAND_HEAD, m->values, m->count);
    return true;
}

size_t rtl_arm_encode(const rtl_arm *m, uint8_t *payload) {
    payload[0] = m->loop_class;
    payload[1] = 0;
    rtl_put_u16(payload + 2, m->max_late_commands);
    rtl_put_u32(payload + 4, m->command_timeout_us);
    return ARM_SIZE;
}

bool rtl_arm_decode(const uint8_t *payload, size_t size, rtl_arm *m) {
    if (size != ARM_SIZE) {
        return false;
    }
    m->loop_class = payload[0];
    m->max_late_commands = rtl_get_u16(payload + 2);
    m->command_timeout_us = rtl_get_u32(payload + 4);
    return true;
}

size_t rtl_stop_encode(const rtl_stop *m, uint8_t *payload) {
    rtl_put_u16(payload, m->reason_bits);
    rtl_put_u16(payload + 2, 0);
    return STOP_SIZE;
}

bool rtl_stop_decode(const uint8_t *payload, size_t size, rtl_stop *m) {
    if (size != STOP_SIZE) {
        return false;
    }
    m->reason_bits = rtl_get_u16(payload);
    return true;
}

size_t rtl_event_encode(const rtl_event *m, uint8_t *payload) {
    payload[0] = m->event;
    payload[1] = m->loop_class;
    rtl_put_u16(payload + 2, m->reasons);
    rtl_put_u32(payload + 4, m->time_us);
    rtl_put_u32(payload + 8, m->valid_until_us);
    rtl_put_u32(payload + 12, (uint32_t)m->lateness_us);
    rtl_put_u32(payload + 16, m->total);
    payload[20] = m->state;
    memset(payload + 21, 0, 3);
    return EVENT_SIZE;
}

bool rtl_event_decode(const uint8_t *payload, size_t size, rtl_event *m) {
    if (size != EVENT_SIZE) {
        return false;
    }
    m->event = payload[0];
    m->loop_class = payload[1];
    m->reasons = rtl_get_u16(payload + 2);
    m->time_us = rtl_get_u32(payload + 4);
    m->valid_until_us = rtl_get_u32(payload + 8);
    m->lateness_us = (int32_t)rtl_get_u32(payload + 12);
    m->total = rtl_get_u32(payload + 16);
    m->state = payload[20];
    return true;
}

size_t rtl_device_status_encode(const rtl_device_status *m, uint8_t *payload) {
    payload[0] = m->state;
    payload[1] = m->loop_class;
    rtl_put_u16(payload + 2, m->reasons);
    rtl_put_u32(payload + 4, m->boot_id);
    rtl_put_u32(payload + 8, m->rx_packets);
    rtl_put_u32(payload + 12, m->crc_errors);
    rtl_put_u32(payload + 16, m->frame_errors);
    rtl_put_u32(payload + 20, m->seq_gaps);
    rtl_put_u32(payload + 24, m->late_commands);
    rtl_put_u32(payload + 28, m->rejected_commands);
    rtl_put_u32(payload + 32, m->command_timeouts);
    rtl_put_u32(payload + 36, m->tx_packets);
    return STATUS_SIZE;
}

bool rtl_device_status_decode(const uint8_t *payload, size_t size, rtl_device_status *m) {
    if (size != STATUS_SIZE) {
        return false;
    }
    m->state = payload[0];
    m->loop_class = payload[1];
    m->reasons = rtl_get_u16(payload + 2);
    m->boot_id = rtl_get_u32(payload + 4);
    m->rx_packets = rtl_get_u32(payload + 8);
    m->crc_errors = rtl_get_u32(payload + 12);
    m->frame_errors = rtl_get_u32(payload + 16);
    m->seq_gaps = rtl_get_u32(payload + 20);
    m->late_commands = rtl_get_u32(payload + 24);
    m->rejected_commands = rtl_get_u32(payload + 28);
    m->command_timeouts = rtl_get_u32(payload + 32);
    m->tx_packets = rtl_get_u32(payload + 36);
    return true;
}

uint16_t rtl_schema_id(const char *text, size_t size) {
    const uint16_t id = (uint16_t)rtl_crc32(text, size);
    return id != 0 ? id : 1;
}

int32_t rtl_time_difference_us(uint32_t a, uint32_t b) {
    return (int32_t)(a - b);
}
