/*
 * The messages: what the payload of a packet means.
 *
 * Every rtl_X_encode writes to `payload` (room for RTL_PAYLOAD_MAX) and returns the size, or 0 when
 * a count does not fit. Every rtl_X_decode returns false, and leaves the message untouched, when
 * the size is not exactly the one of the message; reserved bytes are written as 0 and not read.
 * A decoded value is what the peer sent: that a float is finite or an enum known is not checked.
 */
#ifndef RTLOOP_MESSAGES_H
#define RTLOOP_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rtloop/histogram.h"
#include "rtloop/packet.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RTL_VALUES_MAX ((RTL_PAYLOAD_MAX - 12u) / 4u) /* each way: 128 where packets are whole */
#define RTL_SCHEMA_CHUNK_MAX 200u
#define RTL_NAME_SIZE 24u /* with the terminating 0 */

/* Flag of a HELLO_REPLY: the device answers STATS_REQUEST and HISTOGRAM_REQUEST. */
#define RTL_FLAG_ACCOUNTS 1u
#define RTL_CLASS_NONE 255u /* in STATS: the device has no loop that it accounts for */

/* h→d: sent by the host to the device. */
typedef enum rtl_type {
    RTL_TYPE_HELLO = 1,              /* h→d */
    RTL_TYPE_HELLO_REPLY = 2,        /* d→h */
    RTL_TYPE_SCHEMA_REQUEST = 3,     /* h→d */
    RTL_TYPE_SCHEMA_CHUNK = 4,       /* d→h */
    RTL_TYPE_TIME_REQUEST = 5,       /* h→d */
    RTL_TYPE_TIME_REPLY = 6,         /* d→h */
    RTL_TYPE_SENSOR = 7,             /* d→h */
    RTL_TYPE_COMMAND = 8,            /* h→d */
    RTL_TYPE_ARM = 9,                /* h→d, answered with STATUS */
    RTL_TYPE_CLEAR = 10,             /* h→d, no payload, answered with STATUS */
    RTL_TYPE_STOP = 11,              /* h→d, answered with STATUS */
    RTL_TYPE_EVENT = 12,             /* d→h */
    RTL_TYPE_STATUS_REQUEST = 13,    /* h→d, no payload */
    RTL_TYPE_STATUS = 14,            /* d→h */
    RTL_TYPE_STATS_REQUEST = 15,     /* h→d, no payload */
    RTL_TYPE_STATS = 16,             /* d→h */
    RTL_TYPE_HISTOGRAM_REQUEST = 17, /* h→d */
    RTL_TYPE_HISTOGRAM = 18          /* d→h */
} rtl_type;

typedef enum rtl_state {
    RTL_STATE_INIT = 0,
    RTL_STATE_IDLE = 1,
    RTL_STATE_ARMED = 2,
    RTL_STATE_ACTIVE = 3,
    RTL_STATE_SAFE = 4 /* latched: left only by CLEAR */
} rtl_state;

typedef enum rtl_reason {
    RTL_REASON_COMMAND_TIMEOUT = 1,
    RTL_REASON_DEADLINE_MISSES = 2,
    RTL_REASON_LINK_ERRORS = 4,
    RTL_REASON_NON_FINITE = 8,
    RTL_REASON_LIMIT = 16,
    RTL_REASON_HOST_STOP = 32,
    RTL_REASON_HARDWARE = 64
} rtl_reason;

typedef enum rtl_class { RTL_CLASS_HARD = 0, RTL_CLASS_FIRM = 1, RTL_CLASS_SOFT = 2 } rtl_class;

typedef enum rtl_event_kind {
    RTL_EVENT_LATE_COMMAND = 1,
    RTL_EVENT_STATE_CHANGE = 2,
    RTL_EVENT_BAD_PACKET = 3,
    RTL_EVENT_SCHEMA_MISMATCH = 4,
    RTL_EVENT_DEADLINE_MISS = 5 /* of the device's own loop */
} rtl_event_kind;

typedef enum rtl_histogram_kind {
    RTL_HISTOGRAM_RESPONSE = 0,
    RTL_HISTOGRAM_RELEASE_LATENCY = 1,
    RTL_HISTOGRAM_SAMPLE_TO_ACTUATION = 2
} rtl_histogram_kind;

typedef struct rtl_hello {
    uint8_t min_version, max_version; /* protocol versions the host speaks, inclusive */
} rtl_hello;

typedef struct rtl_hello_reply {
    uint8_t version; /* chosen; 0: no version in common */
    uint8_t state;
    uint16_t reasons;
    uint8_t n_sensor, n_command;
    uint16_t schema_bytes; /* of the whole schema text */
    uint32_t sensor_period_us;
    uint32_t command_timeout_us; /* in force while ARMED or ACTIVE, else the device's default */
    uint32_t boot_id;            /* another value after every start of the device */
    char name[RTL_NAME_SIZE];    /* always terminated */
} rtl_hello_reply;

typedef struct rtl_schema_request {
    uint16_t offset;
} rtl_schema_request;

typedef struct rtl_schema_chunk {
    uint16_t offset, total;
    uint8_t size; /* of `bytes` */
    uint8_t bytes[RTL_SCHEMA_CHUNK_MAX];
} rtl_schema_chunk;

typedef struct rtl_time_request {
    uint64_t host_ns;
} rtl_time_request;

typedef struct rtl_time_reply {
    uint64_t host_ns;      /* echoed */
    uint64_t t2_us, t3_us; /* device time of reception and of reply */
} rtl_time_reply;

typedef struct rtl_sensor {
    uint32_t sample_time_us; /* device time */
    uint8_t state, count;
    uint16_t reasons;
    uint16_t command_seq;   /* seq of the last command that was applied */
    uint16_t late_commands; /* low 16 bits of the count since boot */
    float values[RTL_VALUES_MAX];
} rtl_sensor;

typedef struct rtl_command {
    uint32_t valid_until_us; /* device time */
    uint8_t count;
    float values[RTL_VALUES_MAX];
} rtl_command;

typedef struct rtl_arm {
    uint8_t loop_class;
    uint16_t max_late_commands;  /* in a row, that trip SAFE; 0: never */
    uint32_t command_timeout_us; /* 0: the device's default; not armed beyond its maximum */
} rtl_arm;

typedef struct rtl_stop {
    uint16_t reason_bits; /* 0 means RTL_REASON_HOST_STOP */
} rtl_stop;

typedef struct rtl_event {
    uint8_t event; /* rtl_event_kind */
    uint8_t loop_class;
    uint16_t reasons;
    uint32_t time_us;        /* device time of the event */
    uint32_t valid_until_us; /* late command; of a deadline miss the deadline */
    int32_t lateness_us;     /* late command, deadline miss */
    uint32_t total;          /* events of this kind since boot, whether or not each was sent */
    uint8_t state;
} rtl_event;

typedef struct rtl_device_status {
    uint8_t state, loop_class;
    uint16_t reasons;
    uint32_t boot_id;
    uint32_t rx_packets, crc_errors, frame_errors, seq_gaps;
    uint32_t late_commands, rejected_commands, command_timeouts, tx_packets;
} rtl_device_status;

/* Of the newest ARM until SAFE: loop_account.h and device_account.h say what each is. */
typedef struct rtl_stats {
    uint8_t loop_class; /* rtl_class, or RTL_CLASS_NONE: all of the loop is 0 */
    uint16_t max_misses, window, max_consecutive;
    uint32_t boot_id, period_us, deadline_us;
    uint32_t jobs, skipped, misses, limit_broken, most_consecutive;
    int32_t lateness_max_us;
    uint32_t worst_job, first_miss_job;
    uint64_t began_us, worst_us, first_miss_us; /* device time */
    uint32_t response_max_us, release_latency_max_us, sample_to_actuation_max_us;
    uint32_t traced, untraced; /* commands that were applied */
} rtl_stats;

typedef struct rtl_histogram_request {
    uint8_t kind; /* rtl_histogram_kind */
} rtl_histogram_request;

/* Without its last buckets that are empty. */
typedef struct rtl_histogram_counts {
    uint8_t kind, count;
    uint32_t counts[RTL_HISTOGRAM_BUCKETS];
} rtl_histogram_counts;

size_t rtl_hello_encode(const rtl_hello *m, uint8_t *payload);
size_t rtl_hello_reply_encode(const rtl_hello_reply *m, uint8_t *payload);
size_t rtl_schema_request_encode(const rtl_schema_request *m, uint8_t *payload);
size_t rtl_schema_chunk_encode(const rtl_schema_chunk *m, uint8_t *payload);
size_t rtl_time_request_encode(const rtl_time_request *m, uint8_t *payload);
size_t rtl_time_reply_encode(const rtl_time_reply *m, uint8_t *payload);
size_t rtl_sensor_encode(const rtl_sensor *m, uint8_t *payload);
size_t rtl_command_encode(const rtl_command *m, uint8_t *payload);
size_t rtl_arm_encode(const rtl_arm *m, uint8_t *payload);
size_t rtl_stop_encode(const rtl_stop *m, uint8_t *payload);
size_t rtl_event_encode(const rtl_event *m, uint8_t *payload);
size_t rtl_device_status_encode(const rtl_device_status *m, uint8_t *payload);
size_t rtl_stats_encode(const rtl_stats *m, uint8_t *payload);
size_t rtl_histogram_request_encode(const rtl_histogram_request *m, uint8_t *payload);
size_t rtl_histogram_counts_encode(const rtl_histogram_counts *m, uint8_t *payload);

bool rtl_hello_decode(const uint8_t *payload, size_t size, rtl_hello *m);
bool rtl_hello_reply_decode(const uint8_t *payload, size_t size, rtl_hello_reply *m);
bool rtl_schema_request_decode(const uint8_t *payload, size_t size, rtl_schema_request *m);
bool rtl_schema_chunk_decode(const uint8_t *payload, size_t size, rtl_schema_chunk *m);
bool rtl_time_request_decode(const uint8_t *payload, size_t size, rtl_time_request *m);
bool rtl_time_reply_decode(const uint8_t *payload, size_t size, rtl_time_reply *m);
bool rtl_sensor_decode(const uint8_t *payload, size_t size, rtl_sensor *m);
bool rtl_command_decode(const uint8_t *payload, size_t size, rtl_command *m);
bool rtl_arm_decode(const uint8_t *payload, size_t size, rtl_arm *m);
bool rtl_stop_decode(const uint8_t *payload, size_t size, rtl_stop *m);
bool rtl_event_decode(const uint8_t *payload, size_t size, rtl_event *m);
bool rtl_device_status_decode(const uint8_t *payload, size_t size, rtl_device_status *m);
bool rtl_stats_decode(const uint8_t *payload, size_t size, rtl_stats *m);
bool rtl_histogram_request_decode(const uint8_t *payload, size_t size, rtl_histogram_request *m);
bool rtl_histogram_counts_decode(const uint8_t *payload, size_t size, rtl_histogram_counts *m);

/* The id of a schema text: the low 16 bits of its CRC-32, 1 in place of 0. */
uint16_t rtl_schema_id(const char *text, size_t size);

/* a - b for 32-bit µs times that wrap: right as long as the two are less than 35 min apart. */
int32_t rtl_time_difference_us(uint32_t a, uint32_t b);

#ifdef __cplusplus
}
#endif

#endif
