/*
 * A device on the bench: a virtual clock, a machine that notes what it was told, and the host's end
 * of the line. Nothing happens between two calls, so every timing assertion is exact.
 */
#ifndef RTLOOP_TESTS_RIG_H_
#define RTLOOP_TESTS_RIG_H_

#include "rtloop/device.h"

#define RIG_PERIOD_US 1000u
#define RIG_TIMEOUT_US 20000u
#define RIG_TIMEOUT_MAX_US 100000u
#define RIG_LINK_ERRORS 5u
#define RIG_LIMIT 20.0f
#define RIG_TYPES 19u

extern const char rig_schema[];

typedef struct {
    rtl_device device;
    uint64_t now_us;

    bool line_is_full;           /* the device cannot send */
    uint16_t trips_when_applied; /* reasons the machine trips with as soon as it is driven */
    uint16_t isr_when_applied;   /* and those of an interrupt that comes just before */
    uint16_t trips_when_active;  /* as soon as it hears of that state */
    uint16_t trips_when_armed;
    uint16_t veto; /* of ARM and CLEAR alike */
    uint64_t sample_age_us;
    uint64_t delay_us; /* from the arrival of bytes to rtl_device_receive() */

    unsigned applied, safe_calls, vetoes_asked, changes;
    rtl_state last_change;
    uint16_t last_change_reasons;
    unsigned safe_calls_at_last_change;
    unsigned moved_outside_active; /* must stay 0 */
    float applied_value;

    rtl_device_account account; /* rig_init_accounting() */

    uint16_t tx_seq, schema_id; /* of the host */
    uint16_t ack;               /* what it says to have received last */
    rtl_frame_decoder decoder;
    unsigned received[RIG_TYPES]; /* packets from the device, by type */
    unsigned received_bad;        /* must stay 0 */
    rtl_header last_header;

    rtl_hello_reply hello_reply;
    rtl_schema_chunk schema_chunk;
    rtl_time_reply time_reply;
    rtl_sensor sensor;
    rtl_event events[RTL_EVENT_KINDS]; /* the newest of each kind */
    unsigned received_events[RTL_EVENT_KINDS];
    rtl_device_status status;
    rtl_stats stats;
    rtl_histogram_counts histogram;
} rig;

/* What the device of a rig is made of. */
rtl_hardware rig_hardware(rig *r);
rtl_description rig_description(void);

/* In INIT at the given time. */
void rig_init(rig *r, uint64_t now_us);

/* The same of a device that accounts for its loop. */
void rig_init_accounting(rig *r, uint64_t now_us, const rtl_loop_terms *terms);

/* Ready, and the host has said HELLO: IDLE. */
void rig_open(rig *r);

/* Open and ARMED, firm, with the device's own command timeout and no limit of late commands. */
void rig_arm(rig *r);

/* Armed, and a first command was applied: ACTIVE. */
void rig_activate(rig *r);

/* Lets time pass in ticks of the sensor period. */
void rig_run(rig *r, uint64_t us);

/* Lets time pass as a board does: asleep until something is due. Returns how often it woke up. */
unsigned rig_sleep(rig *r, uint64_t us);

/* SAFE for these reasons and no other, its output too; nothing moved it that might not. */
bool rig_is_safe(const rig *r, uint16_t reasons);

/* Bytes that arrive now. */
void rig_receive(rig *r, const uint8_t *bytes, size_t n);

void rig_send(rig *r, rtl_type type, const uint8_t *payload, size_t size);
void rig_send_plain(rig *r, rtl_type type);
void rig_send_hello(rig *r, uint8_t min_version, uint8_t max_version);
void rig_send_arm(rig *r, rtl_class loop_class, uint16_t max_late, uint32_t timeout_us);
void rig_send_stop(rig *r, uint16_t reasons);
/* One value, valid until so long from now; negative is late. */
void rig_send_command(rig *r, float value, int32_t valid_for_us);
/* A COMMAND in time whose CRC does not hold. */
void rig_send_damaged(rig *r);

#endif
