/*
 * The cart-pole as the machine of an rtl_device: what it is driven with, its hard limits, its end
 * stops, and how well it was balanced. C11 and libm only, like cartpole.h; the firmwares of host/
 * and qemu/ add a clock and a line.
 *
 * In SAFE the force is 0 and physics goes on. At an end stop of the track the cart stops and the
 * device trips to SAFE (LIMIT).
 */
#ifndef RTLOOP_HOST_DRIVEN_CARTPOLE_H_
#define RTLOOP_HOST_DRIVEN_CARTPOLE_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cartpole.h"
#include "rtloop/device.h"

#define CARTPOLE_SENSORS 4u

typedef struct {
    cartpole plant;
    rtl_device *device;
    float force_min_n, force_max_n; /* hard limits of the command */
    volatile double force_n;        /* what the firmware drives the plant with */

    bool is_released;    /* until then it is held still */
    uint64_t lived_us;   /* device time that it was brought to */
    uint64_t dropped_us; /* that it did not live through */

    /* The balance is judged while ACTIVE, and on in SAFE for any reason but the host's own stop:
     * judged_steps is the time of that, upright_steps the part of it before the first fall. */
    uint64_t judged_steps, upright_steps;
    double max_angle_rad;
    bool fell;
} driven_cartpole;

/* `device` need not be initialised yet. For the rest see cartpole_init(). */
void driven_cartpole_init(driven_cartpole *self, rtl_device *device, const cartpole_params *params,
                          uint64_t seed, double initial_angle_rad);

/* From now on it follows the clock. No effect when it does already. */
void driven_cartpole_release(driven_cartpole *self, uint64_t now_us);

/* Brings it to `now_us`; what is longer ago than `catch_up_us` is dropped, not simulated in a rush.
 */
void driven_cartpole_advance(driven_cartpole *self, uint64_t now_us, uint64_t catch_up_us);

/* One step of the plant, for who keeps the time. */
void driven_cartpole_step(driven_cartpole *self);

double driven_cartpole_judged_s(const driven_cartpole *self);
double driven_cartpole_upright_s(const driven_cartpole *self);

/* The schema of the sensors, `n_more` counters after them, and the force. */
void driven_cartpole_write_schema(char *text, size_t room, unsigned rate_hz, unsigned n_more);

#endif /* RTLOOP_HOST_DRIVEN_CARTPOLE_H_ */
