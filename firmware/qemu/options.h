/* The arguments of the emulated firmware, as rtloop/demos/emulated/board.py gives them. */
#ifndef RTLOOP_QEMU_OPTIONS_H_
#define RTLOOP_QEMU_OPTIONS_H_

#include <stdint.h>

typedef struct {
    uint32_t seed, rate_hz, command_timeout_ms, boot_id;
    uint64_t clock_start_us;
    int32_t clock_drift_ppm;
    uint8_t loop_class; /* rtl_class */
    uint16_t loop_max_misses, loop_window;
    uint32_t loop_deadline_us; /* 0: the period */
    uint32_t loop_delay_us, loop_delay_every;
    double angle_rad, noise, push_newton, push_interval_s;
} options;

/* Pairs of --name and value, which were checked where they were written. */
options options_read(int argc, char **argv);

#endif /* RTLOOP_QEMU_OPTIONS_H_ */
