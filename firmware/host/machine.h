/*
 * What every machine of this program is: an rtl_device on a pty and, where asked for, on ZeroMQ or
 * UDP, an emergency stop, a clock. Each kind begins with one of these and fills in the rest; main.c
 * knows no more of it.
 */
#ifndef RTLOOP_HOST_MACHINE_H_
#define RTLOOP_HOST_MACHINE_H_

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "options.h"
#include "pty.h"
#include "rtloop/device.h"
#include "tcp.h"
#include "udp.h"

/* A stop longer than this (SIGSTOP, a suspended laptop) is dropped instead of simulated in a rush
 * during which the device would be deaf; ordinary scheduling hiccups are far shorter. */
#define MACHINE_CATCH_UP_MAX_NS 100000000

/* Waits for a ZeroMQ peer that does not read, in bytes: what is newer than that is dropped. */
#define MACHINE_ZMQ_QUEUE 4096

/* A peer that is silent for so long has left; a host asks for the time ten times a second. */
#define MACHINE_ZMQ_IDLE_US 5000000

typedef struct machine {
    rtl_device device;
    rtl_device_account account;
    pty line;
    tcp zmq;       /* beside the line, or closed */
    udp datagrams; /* the same; not both */
    uint8_t zmq_in[RTL_PACKET_MAX], zmq_out[MACHINE_ZMQ_QUEUE];
    char schema[4096];
    volatile sig_atomic_t emergency_stop;
    int64_t clock_origin_ns; /* CLOCK_MONOTONIC at device time 0, but for the drift since: */
    int64_t clock_began_ns;
    int64_t clock_drift_ppb; /* how much faster the device's clock runs */
    bool is_released;        /* ACTIVE for the first time: until then the plant is held still */
    int64_t plant_ns;        /* CLOCK_MONOTONIC the plant was advanced to */
    int64_t dropped_ns;      /* time the plant did not live through: the process was stopped */
    uint32_t delay_us;       /* for which a job waits while ACTIVE, */
    uint32_t delay_interval; /* every so many */
    uint32_t delayable;      /* jobs so far that may have been */
    int plant_fd;            /* what to wake up for beside the line, or -1 */

    void (*advance)(struct machine *self); /* brings the plant to the present */
    /* What became of the plant, as members of a JSON object, each after a comma. */
    void (*print_plant)(const struct machine *self, FILE *stream);
} machine;

/* What a kind says of itself; the rest of the rtl_hardware is the same for all. */
typedef struct {
    const char *name;
    uint32_t n_sensor, n_command;
    uint64_t (*sample)(void *context, float *values);
    void (*apply)(void *context, const float *values);
    void (*safe)(void *context);
    const float *command_min, *command_max;
} machine_kind;

/* CLOCK_MONOTONIC. */
int64_t machine_clock_ns(void);

/* Device time; `context` is the machine. */
uint64_t machine_now_us(void *context);

/* Device time at a time of CLOCK_MONOTONIC, and when it will be, rounded up. */
uint64_t machine_time_us(const machine *self, int64_t clock_ns);
int64_t machine_clock_at_ns(const machine *self, uint64_t time_us);

/*
 * Opens the line and makes the device, whose context is `self` and whose schema is written already.
 * Returns false with a message in `error`. Not to be moved.
 */
bool machine_open(machine *self, const machine_kind *kind, const options *chosen, char *error,
                  size_t error_size);

/*
 * How many whole steps of the plant are due, and counts them as done: 0 until it is released, and
 * never more than a rush of MACHINE_CATCH_UP_MAX_NS.
 */
uint32_t machine_take_steps(machine *self, int64_t step_ns);

/* The emergency stop: pressed, and at the next call released. May be called by a signal handler. */
void machine_press(machine *self);

/* Brings the plant to the present, takes what came, sends what is due. */
void machine_pass(machine *self);

/* When machine_pass() has something to do next, in device time; RTL_NEVER_US: when bytes come. */
uint64_t machine_next_due_us(const machine *self);

/* Where it is found beside its line; empty: nowhere. */
const char *machine_address(const machine *self);

/* Hangs up all lines. May be called again. */
void machine_unplug(machine *self);

/* One line of JSON. */
void machine_print_summary(const machine *self, FILE *stream);

#endif /* RTLOOP_HOST_MACHINE_H_ */
