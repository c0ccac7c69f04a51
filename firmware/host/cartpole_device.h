/*
 * An rtl_device whose machine is the simulated cart-pole and whose serial line is a pty.
 *
 * The plant is held still until the device is ACTIVE for the first time; from then on it follows
 * the clock. In SAFE the force is 0 and physics goes on. At an end stop of the track the cart
 * stops and the device trips to SAFE (LIMIT).
 */
#ifndef RTLOOP_HOST_CARTPOLE_DEVICE_H_
#define RTLOOP_HOST_CARTPOLE_DEVICE_H_

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "cartpole.h"
#include "options.h"
#include "pty.h"
#include "rtloop/device.h"

typedef struct {
    rtl_device device;
    cartpole plant;
    pty line;
    char schema[4096];
    uint32_t n_sensor, samples;
    float force_min_n, force_max_n;

    volatile double force_n; /* what the firmware drives the plant with */
    volatile sig_atomic_t emergency_stop;
    bool is_released;
    int64_t clock_origin_ns; /* CLOCK_MONOTONIC at device time 0 */
    int64_t plant_ns;        /* CLOCK_MONOTONIC the plant was advanced to */
    int64_t dropped_ns;      /* time the plant did not live through: the process was stopped */

    double judged_s, upright_s, max_angle_rad;
    bool fell;
} cartpole_device;

/* Returns false with a message in `error` when the line could not be opened. Not to be moved. */
bool cartpole_device_open(cartpole_device *machine, const options *chosen, char *error,
                          size_t error_size);

/* The emergency stop: pressed, and at the next call released. May be called by a signal handler. */
void cartpole_device_press(cartpole_device *machine);

/* Advances the plant to the present. */
void cartpole_device_advance(cartpole_device *machine);

/*
 * One line of JSON. The balance is judged while ACTIVE, and on in SAFE for any reason but the
 * host's own stop: elapsed_s is the time judged, upright_s the part of it before the first fall.
 */
void cartpole_device_print_summary(const cartpole_device *machine, FILE *stream);

#endif /* RTLOOP_HOST_CARTPOLE_DEVICE_H_ */
