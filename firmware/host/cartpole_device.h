/*
 * An rtl_device whose machine is the simulated cart-pole and whose serial line is a pty.
 *
 * The plant is held still until the device is ACTIVE for the first time; from then on it follows
 * the clock.
 */
#ifndef RTLOOP_HOST_CARTPOLE_DEVICE_H_
#define RTLOOP_HOST_CARTPOLE_DEVICE_H_

#include "driven_cartpole.h"
#include "machine.h"

typedef struct {
    machine base;
    driven_cartpole cart;
    uint32_t n_sensor, samples;
} cartpole_device;

/* As machine_open(). */
bool cartpole_device_open(cartpole_device *self, const options *chosen, char *error,
                          size_t error_size);

#endif /* RTLOOP_HOST_CARTPOLE_DEVICE_H_ */
