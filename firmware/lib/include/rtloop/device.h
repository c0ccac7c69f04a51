/*
 * The device's side of a link: a state machine between the bytes of the host and the machine.
 *
 *     INIT --ready--> IDLE --ARM--> ARMED --first valid COMMAND--> ACTIVE
 *      any state but INIT --STOP or trouble--> SAFE (latched) --CLEAR--> IDLE
 *
 * Contract:
 * - The machine is moved (`apply`) in ACTIVE only, and only by a command that is intact, of the
 *   agreed schema, in time, finite and inside the hard limits. On the way into SAFE `safe` is
 *   called before anything else happens.
 * - SAFE is latched with the reasons that led to it; reasons add up until CLEAR, which does not
 *   arm. What leads to SAFE by itself: no valid command for the command timeout while ACTIVE, too
 *   many late commands in a row, too many damaged packets in a row while ACTIVE, a value that is
 *   not finite or outside the hard limits while ARMED or ACTIVE, rtl_device_trip().
 * - A command whose valid-until is past is not applied and does not feed the timeout: it is counted
 *   and reported. Rejected and counted is a command in IDLE or SAFE, one that was applied already
 * or is older than that, by its seq since ARM, and one valid for longer than the command timeout.
 * - Nothing is sent unasked before the first HELLO. From then on a SENSOR leaves at every multiple
 *   of the sensor period in device time, ahead of everything that waits; missed ones are skipped.
 *   Events are limited in rate, see event_queue.h, so that a flood of them starves nothing.
 *
 * No allocation, no OS, no clock of its own: time comes from rtl_hardware. Call every function of
 * one device from one thread (not from an ISR: `apply` and `sample` handle floats); call
 * rtl_device_receive() as bytes arrive and rtl_device_tick() right after every multiple of the
 * sensor period at the latest: the command timeout is as punctual as the ticks.
 */
#ifndef RTLOOP_DEVICE_H
#define RTLOOP_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rtloop/event_queue.h"
#include "rtloop/frame.h"
#include "rtloop/messages.h"
#include "rtloop/packet.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The machine. All functions are required, and return without waiting. `sample` and `apply` may
 * call rtl_device_trip(), and `apply` must not drive the machine after it did.
 */
typedef struct rtl_hardware {
    void *context;
    /* Monotonic µs since an arbitrary start; 64 bit, so that it never wraps. */
    uint64_t (*now_us)(void *context);
    /* Writes description.n_sensor values, the newest there are. */
    void (*sample)(void *context, float *values);
    /* Drives the machine with description.n_command values, until the next call. */
    void (*apply)(void *context, const float *values);
    /* Drives the machine to its safe output. May be called again when it is safe already. */
    void (*safe)(void *context);
    /* Takes all of a frame or, when there is no room for it, nothing and returns false. */
    bool (*transmit)(void *context, const uint8_t *bytes, size_t n);
    /* Hard limits, n_command values each; NULL: none. They are a fence, not a clamp. */
    const float *command_min, *command_max;
} rtl_hardware;

/* What the device says about itself, and when it gives up. Copied; the strings are not. */
typedef struct rtl_description {
    const char *name;                /* at most RTL_NAME_SIZE - 1 bytes are sent */
    const char *schema;              /* the canonical schema text */
    uint8_t n_sensor, n_command;     /* at most RTL_VALUES_MAX, and what the schema says */
    uint16_t max_link_errors;        /* damaged packets in a row that trip SAFE; 0: never */
    uint32_t sensor_period_us;       /* > 0 */
    uint32_t command_timeout_us;     /* default, > 0 */
    uint32_t command_timeout_max_us; /* an ARM that asks for more is refused */
    uint32_t boot_id;
} rtl_description;

/* Read the counters and the state; leave the rest to the functions below. */
typedef struct rtl_device {
    rtl_hardware hardware;
    rtl_description description;
    rtl_frame_decoder decoder;
    uint16_t schema_bytes, schema_id;

    rtl_state state;
    uint16_t reasons;
    rtl_arm arm; /* of the last ARM; command_timeout_us is the one in force */

    bool peer_is_known; /* a HELLO was received */
    bool rx_seq_is_known;
    bool command_seq_is_known; /* since ARM */
    uint16_t tx_seq, rx_seq, command_seq;
    uint16_t consecutive_late, consecutive_link_errors;
    uint64_t received_us;     /* when the bytes at hand arrived */
    uint64_t last_command_us; /* when a command was last applied */
    uint64_t next_sensor_us;

    rtl_event_queue events;

    uint32_t rx_packets, crc_errors, frame_errors, seq_gaps;
    uint32_t late_commands, rejected_commands, command_timeouts;
    uint32_t tx_packets, tx_dropped;
} rtl_device;

/*
 * INIT: drives the machine safe and answers HELLO, time and status requests, but cannot be armed.
 * Returns false, and leaves the device unusable, when the description breaks a rule stated above.
 */
bool rtl_device_init(rtl_device *device, const rtl_hardware *hardware,
                     const rtl_description *description);

/* INIT → IDLE: the machine is initialised and tested. No effect in another state. */
void rtl_device_ready(rtl_device *device);

/* Takes bytes of the serial line, in pieces of any size. */
void rtl_device_receive(rtl_device *device, const uint8_t *bytes, size_t n);

/* Watches the command timeout and sends what is due. */
void rtl_device_tick(rtl_device *device);

/* The machine's own trouble, e.g. RTL_REASON_LIMIT at an end stop: SAFE, in any state but INIT. */
void rtl_device_trip(rtl_device *device, uint16_t reasons);

#ifdef __cplusplus
}
#endif

#endif
