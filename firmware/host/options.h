/* The command line of rtloop-firmware. */
#ifndef RTLOOP_HOST_OPTIONS_H_
#define RTLOOP_HOST_OPTIONS_H_

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *pty_path;    /* NULL: no symbolic link */
    const char *zmq_address; /* NULL: no ZeroMQ */
    const char *udp_address; /* NULL: no UDP */
    uint64_t seed;
    double angle_rad;
    double noise;
    double push_newton;
    double push_interval_s;
    uint32_t rate_hz; /* divides 1000000 */
    uint32_t n_sensor;
    uint32_t command_timeout_ms;
    uint32_t boot_id;
    uint64_t clock_start_us;
    double clock_drift_ppm;
    uint8_t loop_class;           /* rtl_class, of the device's own loop */
    uint32_t loop_deadline_us;    /* 0: its period */
    uint16_t loop_max_misses;     /* in any */
    uint16_t loop_window;         /* releases; 0: no limit */
    uint32_t loop_delay_us;       /* made in its jobs while ACTIVE */
    uint32_t loop_delay_interval; /* every so many of them */
    int plant_fd; /* of the process that is the plant; -1: the cart-pole in this one */
    int priority; /* SCHED_FIFO; 0: leave alone */
    bool die_with_parent;
    bool ignore_interrupt;
} options;

typedef enum { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_WRONG } options_verdict;

/* On OPTIONS_HELP the help was printed; on OPTIONS_WRONG what was wrong was, on stderr. */
options_verdict options_parse(int argc, char **argv, options *out);

#endif /* RTLOOP_HOST_OPTIONS_H_ */
