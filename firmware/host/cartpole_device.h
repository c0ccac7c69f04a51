/*
 * An rtl_device whose machine is the simulated cart-pole and whose serial line is a pty.
 *
 * The plant is held still until the device is ACTIVE for the first time; from then on it follows
 * the clock. In SAFE the force is 0 and physics goes on. At an end stop of the track the cart
 * stops and the device trips to SAFE (LIMIT).
 */
#ifndef RTLOOP_HOST_CARTPOLE_DEVICE_H_
#define RTLOOP_HOST_CARTPOLE_DEVICE_H_

#include "cartpole.h"
#include "machine.h"

typedef struct {
    machine base;
    cartpole plant;
    uint32_t n_sensor, samples;
    float force_min_n, force_max_n;
    volatile double force_n; /* what the firmware drives the plant with */

    /* The balance is judged while ACTIVE, and on in SAFE for any reason but the host's own stop:
     * judged_s is the time of that, upright_s the part of it before the first fall. */
    double judged_s, upright_s, max_angle_rad;
    bool fell;
} cartpole_device;

/* As machine_open(). */
bool cartpole_device_open(cartpole_device *self, const options *chosen, char *error,
                          size_t error_size);

#endif /* RTLOOP_HOST_CARTPOLE_DEVICE_H_ */
