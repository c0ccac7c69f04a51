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
 *   not finite or outside the hard limits while ARMED or ACTIVE, rtl_device_trip() and its sibling.
 * - A command that arrives after its valid-until is not applied and does not feed the timeout:
 *   it is counted and reported. Rejected and counted is a command in IDLE or SAFE, one that was
 *   applied already or is older than that, by its seq since ARM, one valid for longer than the
 *   command timeout, and one that has waited here for longer than that.
 * - The machine may refuse ARM and CLEAR (`veto`); the host is told the reasons.
 * - Nothing is sent unasked before the first HELLO. From then on a SENSOR leaves at every multiple
 *   of the sensor period in device time, ahead of everything that waits; missed ones are skipped.
 *   Events are limited in rate, see event_queue.h, so that a flood of them starves nothing.
 * - A device may be on a stream (a serial line) and on packets (ZeroMQ, UDP) at once, and packets
 *   may come from any address; it has one host: where the last HELLO came from. Everything unasked
 *   goes there. From elsewhere only STOP is heard, and, except in ACTIVE, HELLO; both are answered
 *   where they came from. Damage there does not count.
 *
 * No allocation, no OS, no clock of its own: time comes from rtl_hardware. Call every function of
 * one device from one thread, not from an ISR (`apply` and `sample` handle floats); the one
 * exception is rtl_device_trip_from_isr(). The thread sleeps until bytes arrive, an interrupt
 * trips, or rtl_device_next_due_us(); then it calls rtl_device_receive() with the bytes and, after
 * them, rtl_device_tick(). firmware/example/main_loop.c is such a thread.
 */
#ifndef RTLOOP_DEVICE_H
#define RTLOOP_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#include <atomic>
typedef std::atomic<bool> rtl_flag;
#else
#include <stdatomic.h>
typedef atomic_bool rtl_flag;
#endif

#include "rtloop/device_account.h"
#include "rtloop/event_queue.h"
#include "rtloop/frame.h"
#include "rtloop/messages.h"
#include "rtloop/packet.h"
#include "rtloop/sequence.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RTL_REASON_BITS 16u

/* rtl_device_next_due_us(): nothing is due before bytes arrive. */
#define RTL_NEVER_US UINT64_MAX

/* How bytes travel: as frames on a stream, or as packets that the transport itself keeps apart. */
typedef enum rtl_transport { RTL_TRANSPORT_STREAM = 0, RTL_TRANSPORT_PACKETS } rtl_transport;

/* An IPv6 address with its port and scope, as the sockets of Linux, Zephyr and lwIP have it. */
#define RTL_ADDRESS_MAX 28u

/*
 * Who sends on a transport that many can reach (UDP): any bytes, compared as they are. Empty on one
 * that has two ends (a serial line, a connection).
 */
typedef struct rtl_address {
    uint8_t size;
    uint8_t bytes[RTL_ADDRESS_MAX];
} rtl_address;

typedef struct rtl_peer {
    rtl_transport transport;
    rtl_address address;
} rtl_peer;

/*
 * The machine. All functions return without waiting; those that may be NULL say so. `sample`,
 * `apply` and `state_changed` may call rtl_device_trip(), and `apply` must not drive the machine
 * after it did.
 */
typedef struct rtl_hardware {
    void *context;
    /* Monotonic µs since an arbitrary start; 64 bit, so that it never wraps. */
    uint64_t (*now_us)(void *context);
    /*
     * Writes description.n_sensor values, the newest there are, and returns when they were taken,
     * by the clock of `now_us` and not later than now: the host judges their age by it.
     */
    uint64_t (*sample)(void *context, float *values);
    /* Drives the machine with description.n_command values, until the next call. */
    void (*apply)(void *context, const float *values);
    /*
     * Drives the machine to its safe output. May be called again when it is safe already, and, for
     * rtl_device_trip_from_isr(), in the middle of `apply` and of itself.
     */
    void (*safe)(void *context);
    /* Takes all of a frame or, when there is no room for it, nothing and returns false. */
    bool (*transmit)(void *context, const uint8_t *bytes, size_t n);
    /*
     * The same for a bare packet. One of the two may be NULL: the device has no such transport.
     * Where it goes to, where there is more than one address: rtl_device.answer_to.
     */
    bool (*transmit_packet)(void *context, const uint8_t *packet, size_t size);
    /*
     * May be NULL. Why the machine must not be armed (RTL_TYPE_ARM, in IDLE) or cleared
     * (RTL_TYPE_CLEAR, in SAFE) now: rtl_reason bits, which the host is told; 0: it may.
     */
    uint16_t (*veto)(void *context, rtl_type request);
    /*
     * May be NULL. The device is in another state, or in SAFE for more reasons: lamp, brake, power
     * stage. In SAFE the output is safe already; in ACTIVE nothing was applied yet.
     */
    void (*state_changed)(void *context, rtl_state state, uint16_t reasons);
    /* Hard limits, n_command values each; NULL: none. They are a fence, not a clamp. */
    const float *command_min, *command_max;
} rtl_hardware;

/* What the device says about itself, and when it gives up. Copied; what it points to is not. */
typedef struct rtl_description {
    const char *name;                /* at most RTL_NAME_SIZE - 1 bytes are sent */
    const char *schema;              /* the canonical schema text */
    uint8_t n_sensor, n_command;     /* at most RTL_VALUES_MAX, and what the schema says */
    uint16_t max_link_errors;        /* damaged packets in a row that trip SAFE; 0: never */
    uint32_t sensor_period_us;       /* > 0 */
    uint32_t command_timeout_us;     /* default, > 0 */
    uint32_t command_timeout_max_us; /* an ARM that asks for more is refused */
    uint32_t boot_id;
    rtl_device_account *account; /* NULL: the device does not account for itself */
} rtl_description;

/* Read the counters, the state and, to transmit, answer_to; leave the rest to the functions below.
 */
typedef struct rtl_device {
    rtl_hardware hardware;
    rtl_description description;
    rtl_frame_decoder decoder;
    uint16_t schema_bytes, schema_id;

    rtl_state state;
    uint16_t reasons;
    rtl_arm arm; /* of the last ARM; command_timeout_us is the one in force */

    bool peer_is_known;        /* a HELLO was received */
    rtl_peer peer;             /* where it came from */
    rtl_peer answer_to;        /* where what is sent now goes to */
    bool command_seq_is_known; /* since ARM */
    uint16_t tx_seq, command_seq;
    uint16_t rx_seq;       /* what is sent now acknowledges: the request, else the newest */
    rtl_sequence sequence; /* of the host's packets */
    uint16_t consecutive_late, consecutive_link_errors;
    uint64_t received_us;     /* when the bytes at hand arrived */
    uint64_t last_command_us; /* when the command arrived that was applied last */
    uint64_t next_sensor_us;
    uint64_t next_event_us; /* not before: the line had no room for one */

    /* One flag a reason, so that loads and stores do, which every core has. */
    rtl_flag tripped[RTL_REASON_BITS];

    rtl_event_queue events;

    uint32_t rx_packets, crc_errors, frame_errors, seq_gaps; /* a copy is no packet more */
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

/*
 * Takes bytes of the serial line, in pieces of any size. `arrived_us` is when the last of them came
 * in, by the clock of `now_us`, as the UART's interrupt or DMA noted it; the later, the wider is
 * the error of the host's clock. Where nothing notes it: now.
 */
void rtl_device_receive(rtl_device *device, const uint8_t *bytes, size_t n, uint64_t arrived_us);

/* Takes a packet of a transport that keeps packets apart. `arrived_us` is when it came in. */
void rtl_device_receive_packet(rtl_device *device, const uint8_t *packet, size_t size,
                               uint64_t arrived_us);

/* The same where many can send: UDP. */
void rtl_device_receive_packet_from(rtl_device *device, const rtl_address *from,
                                    const uint8_t *packet, size_t size, uint64_t arrived_us);

/* Watches the command timeout and sends what is due. */
void rtl_device_tick(rtl_device *device);

/*
 * When rtl_device_tick() has something to do next, by the clock of `now_us`: a sample, the command
 * timeout, an event, a trip. At once when it is past; RTL_NEVER_US when bytes have to come first.
 * True until the next call of another function.
 */
uint64_t rtl_device_next_due_us(const rtl_device *device);

/* When the next sample is due, by the clock of `now_us`; RTL_NEVER_US: nobody has asked yet. */
uint64_t rtl_device_next_sample_us(const rtl_device *device);

/* As STATUS and STATS tell the host; the latter of a device with an account. */
rtl_device_status rtl_device_tell_status(const rtl_device *device);
rtl_stats rtl_device_tell_stats(const rtl_device *device);

/*
 * Around one pass of a main loop, from when it wakes up until it sleeps: where a sample was due in
 * it that was a job, released at the sample's tick. Of a device without an account they do nothing.
 */
void rtl_device_begin_pass(rtl_device *device);
void rtl_device_end_pass(rtl_device *device);

/*
 * Instead, for a loop of the device's own: a job of it has ended. It counts if it was released
 * while ARMED or ACTIVE. A miss is reported as event 5; a failure (loop_account.h) is SAFE at once,
 * DEADLINE_MISSES. A loop in another thread hands its jobs to this one, and where it has failed
 * calls rtl_device_trip_from_isr() itself.
 */
void rtl_device_job(rtl_device *device, uint64_t release_us, uint64_t start_us, uint64_t finish_us);

/*
 * The machine's own trouble, e.g. RTL_REASON_LIMIT at an end stop: SAFE, in any state but INIT.
 * No reason at all, 0, is RTL_REASON_HARDWARE.
 */
void rtl_device_trip(rtl_device *device, uint16_t reasons);

/*
 * The same from an interrupt, or another thread: an emergency stop, a fault pin. Calls `safe` at
 * once; the state follows at the thread's next call, for which the interrupt has to wake it. An
 * `apply` that was interrupted runs to its end, and `safe` comes right after it: where that is too
 * long, cut the power stage in hardware, too. In INIT the trip waits until the device is ready.
 */
void rtl_device_trip_from_isr(rtl_device *device, uint16_t reasons);

/*
 * What the host's CLEAR does, asked for at the machine (a key, a shell): SAFE → IDLE, unless the
 * machine objects. Arms nothing; the host learns of it by the change of state.
 */
void rtl_device_clear(rtl_device *device);

#ifdef __cplusplus
}
#endif

#endif
