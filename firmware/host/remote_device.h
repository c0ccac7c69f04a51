/*
 * An rtl_device whose plant is another process, at the other end of a socket (SOCK_SEQPACKET) that
 * it hands to this program. A message each, in the byte order of the host:
 *
 *     plant → device   the schema text, at most 4095 bytes, before the device is started
 *     device → plant   remote_request: live on, by so many periods of the sensors
 *     plant → device   remote_sample, once before the device is started and after each request
 *
 * The plant lives by the clock of the device, which waits for nobody: a sample that comes late is
 * an old one, as it says itself, and requests that the plant does not take are time it does not
 * live through. When it hangs up, the device trips to SAFE (HARDWARE).
 */
#ifndef RTLOOP_HOST_REMOTE_DEVICE_H_
#define RTLOOP_HOST_REMOTE_DEVICE_H_

#include "machine.h"

typedef struct {
    int64_t until_ns;              /* CLOCK_MONOTONIC that it will have lived until then */
    uint32_t steps;                /* periods of the sensors until then */
    uint32_t is_driven;            /* 0: the safe output; the command means nothing */
    float command[RTL_VALUES_MAX]; /* only n_command of them are sent */
} remote_request;

typedef struct {
    int64_t taken_ns;             /* CLOCK_MONOTONIC */
    float values[RTL_VALUES_MAX]; /* only n_sensor of them are sent */
} remote_sample;

typedef struct {
    machine base;
    int64_t step_ns;
    char name[RTL_NAME_SIZE];
    uint32_t n_sensor, n_command;
    remote_request request;
    volatile sig_atomic_t is_driven;
    remote_sample sample;
} remote_device;

/* As machine_open(). */
bool remote_device_open(remote_device *self, const options *chosen, char *error, size_t error_size);

#endif /* RTLOOP_HOST_REMOTE_DEVICE_H_ */
