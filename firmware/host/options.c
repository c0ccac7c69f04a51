#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rtloop/loop_account.h"
#include "rtloop/messages.h"

static const char help[] =
    "usage: rtloop-firmware cartpole [options]\n"
    "       rtloop-firmware remote --plant-fd N [options]\n"
    "\n"
    "The firmware of an rtloop device as a Linux program, with a simulated plant in place of a\n"
    "machine, the cart-pole of this program or one of another process, and a pseudo-terminal in\n"
    "place of a serial line. Prints READY and the path of the line once a host can open it, and a\n"
    "JSON summary at its end.\n"
    "\n"
    "line\n"
    "  --pty PATH               make PATH a symbolic link to the line\n"
    "  --zmq ADDRESS            also over ZeroMQ, at tcp://127.0.0.1:PORT, for a DEALER or "
    "ROUTER;\n"
    "                           port 0 is any that is free, and READY says which. The device has\n"
    "                           one host, who said HELLO last, here or on the line\n"
    "  --udp ADDRESS            also over UDP, at udp://127.0.0.1:PORT, in place of ZeroMQ\n"
    "  --rate-hz N              sensor rate, a divisor of 1000000 up to 10000 (default 1000)\n"
    "  --sensors N              values of a sample, 4..128 (default 4): those that the plant does\n"
    "                           not fill count the samples\n"
    "  --command-timeout-ms N   SAFE after so long without a command (default 20)\n"
    "  --boot-id N              what the device calls this start (default: drawn from the clock)\n"
    "  --clock-start-us N       device time at start (default 0; 4290000000 wraps after 5 s)\n"
    "  --clock-drift-ppm X      how much faster than the host's the device's clock runs (default "
    "0)\n"
    "\n"
    "its own loop: a job from each sample's tick until everything was sent\n"
    "  --loop-class CLASS       hard, firm or soft (default soft): what a missed deadline means;\n"
    "                           of a hard loop it is SAFE at once\n"
    "  --loop-deadline-us N     from the tick, at most the period (default: the period)\n"
    "  --loop-limit M/N         at most M jobs lost in any N (default: no limit)\n"
    "  --loop-delay-us N        make jobs longer by so much, while ACTIVE (default 0)\n"
    "  --loop-delay-every N     only every N-th (default 1)\n"
    "\n"
    "plant\n"
    "  --seed N                 of noise and pushes (default 1)\n"
    "  --angle-rad A            initial angle of the pole (default 0.1)\n"
    "  --noise S                sensor noise, 0 is exact (default 1)\n"
    "  --push-newton F          strongest push (default 0: none)\n"
    "  --push-interval-s S      mean time between pushes (default 4)\n"
    "  --plant-fd N             the socket to the process that is the plant (remote only): see\n"
    "                           firmware/host/remote_device.h\n"
    "  The plant is held still until the device is ACTIVE for the first time.\n"
    "\n"
    "process\n"
    "  --priority N             run under SCHED_FIFO, 1..99 (default 0: leave alone)\n"
    "  --die-with-parent        end when the thread that started this program ends, once no host\n"
    "                           holds the device ACTIVE\n"
    "  --ignore-interrupt       SIGINT does not end it: Ctrl-C reaches a whole terminal, and a\n"
    "                           board outlives its host\n"
    "  -h, --help               this text\n"
    "\n"
    "signals\n"
    "  SIGTERM, SIGINT          end\n"
    "  SIGUSR1                  unplug: hang up the line, ZeroMQ and UDP, run on without\n"
    "  SIGUSR2                  press the emergency stop, and the next time release it: HARDWARE,\n"
    "                           and as long as it is pressed neither cleared nor armed\n";

/* Each reads `text` or says on stderr what would be right. */

static bool read_real(const char *name, const char *text, double min, double max, double *out) {
    char *end;
    errno = 0;
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || errno != 0 || !isfinite(value) || value < min ||
        value > max) {
        fprintf(stderr, "rtloop-firmware: --%s is \"%s\"; give a number from %g to %g\n", name,
                text, min, max);
        return false;
    }
    *out = value;
    return true;
}

static bool read_integer(const char *name, const char *text, uint64_t min, uint64_t max,
                         uint64_t *out) {
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || text[0] == '-' || value < min || value > max) {
        fprintf(stderr, "rtloop-firmware: --%s is \"%s\"; give an integer from %llu to %llu\n",
                name, text, (unsigned long long)min, (unsigned long long)max);
        return false;
    }
    *out = value;
    return true;
}

static bool read_u32(const char *name, const char *text, uint32_t min, uint32_t max,
                     uint32_t *out) {
    uint64_t value;
    if (!read_integer(name, text, min, max, &value)) {
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

static bool read_rate(const char *text, uint32_t *out) {
    if (!read_u32("rate-hz", text, 1, 10000, out)) {
        return false;
    }
    if (1000000u % *out != 0) {
        fprintf(stderr,
                "rtloop-firmware: --rate-hz is %u, which is no whole number of microseconds; "
                "give a divisor of 1000000, e.g. 100, 200, 250, 500, 1000\n",
                (unsigned)*out);
        return false;
    }
    return true;
}

static bool read_class(const char *text, uint8_t *out) {
    static const char *const names[] = {"hard", "firm", "soft"};
    for (uint8_t i = 0; i < 3; ++i) {
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return true;
        }
    }
    fprintf(stderr, "rtloop-firmware: --loop-class is \"%s\"; give hard, firm or soft\n", text);
    return false;
}

static bool read_limit(const char *text, options *out) {
    unsigned max_misses, window;
    int length = 0;
    if (sscanf(text, "%5u/%5u%n", &max_misses, &window, &length) == 2 && text[length] == '\0' &&
        max_misses < window && window <= RTL_WINDOW_MAX) {
        out->loop_max_misses = (uint16_t)max_misses;
        out->loop_window = (uint16_t)window;
        return true;
    }
    fprintf(stderr,
            "rtloop-firmware: --loop-limit is \"%s\"; give M/N with M below N and N at most %u, "
            "e.g. 5/1000\n",
            text, RTL_WINDOW_MAX);
    return false;
}

enum option_id {
    PTY = 256,
    ZMQ,
    UDP,
    SEED,
    ANGLE,
    NOISE,
    PUSH,
    PUSH_INTERVAL,
    PLANT_FD,
    RATE,
    SENSORS,
    COMMAND_TIMEOUT,
    BOOT_ID,
    CLOCK_START,
    CLOCK_DRIFT,
    LOOP_CLASS,
    LOOP_DEADLINE,
    LOOP_LIMIT,
    LOOP_DELAY,
    LOOP_DELAY_EVERY,
    PRIORITY,
    DIE_WITH_PARENT,
    IGNORE_INTERRUPT
};

static const struct option known[] = {
    {"pty", required_argument, NULL, PTY},
    {"zmq", required_argument, NULL, ZMQ},
    {"udp", required_argument, NULL, UDP},
    {"seed", required_argument, NULL, SEED},
    {"angle-rad", required_argument, NULL, ANGLE},
    {"noise", required_argument, NULL, NOISE},
    {"push-newton", required_argument, NULL, PUSH},
    {"push-interval-s", required_argument, NULL, PUSH_INTERVAL},
    {"plant-fd", required_argument, NULL, PLANT_FD},
    {"rate-hz", required_argument, NULL, RATE},
    {"sensors", required_argument, NULL, SENSORS},
    {"command-timeout-ms", required_argument, NULL, COMMAND_TIMEOUT},
    {"boot-id", required_argument, NULL, BOOT_ID},
    {"clock-start-us", required_argument, NULL, CLOCK_START},
    {"clock-drift-ppm", required_argument, NULL, CLOCK_DRIFT},
    {"loop-class", required_argument, NULL, LOOP_CLASS},
    {"loop-deadline-us", required_argument, NULL, LOOP_DEADLINE},
    {"loop-limit", required_argument, NULL, LOOP_LIMIT},
    {"loop-delay-us", required_argument, NULL, LOOP_DELAY},
    {"loop-delay-every", required_argument, NULL, LOOP_DELAY_EVERY},
    {"priority", required_argument, NULL, PRIORITY},
    {"die-with-parent", no_argument, NULL, DIE_WITH_PARENT},
    {"ignore-interrupt", no_argument, NULL, IGNORE_INTERRUPT},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static bool take(int id, const char *text, options *out) {
    uint32_t number;
    switch (id) {
        case PTY:
            out->pty_path = text;
            return true;
        case ZMQ:
            out->zmq_address = text;
            return true;
        case UDP:
            out->udp_address = text;
            return true;
        case SEED:
            return read_integer("seed", text, 0, UINT64_MAX, &out->seed);
        case ANGLE:
            return read_real("angle-rad", text, -3.2, 3.2, &out->angle_rad);
        case NOISE:
            return read_real("noise", text, 0, 1000, &out->noise);
        case PUSH:
            return read_real("push-newton", text, 0, 1000, &out->push_newton);
        case PUSH_INTERVAL:
            return read_real("push-interval-s", text, 0.001, 1e6, &out->push_interval_s);
        case PLANT_FD:
            if (!read_u32("plant-fd", text, 0, INT_MAX, &number)) {
                return false;
            }
            out->plant_fd = (int)number;
            return true;
        case RATE:
            return read_rate(text, &out->rate_hz);
        case SENSORS:
            return read_u32("sensors", text, 4, RTL_VALUES_MAX, &out->n_sensor);
        case COMMAND_TIMEOUT:
            return read_u32("command-timeout-ms", text, 1, 60000, &out->command_timeout_ms);
        case BOOT_ID:
            return read_u32("boot-id", text, 0, UINT32_MAX, &out->boot_id);
        case CLOCK_START:
            return read_integer("clock-start-us", text, 0, UINT64_C(1) << 62, &out->clock_start_us);
        case CLOCK_DRIFT:
            return read_real("clock-drift-ppm", text, -1000, 1000, &out->clock_drift_ppm);
        case LOOP_CLASS:
            return read_class(text, &out->loop_class);
        case LOOP_DEADLINE:
            return read_u32("loop-deadline-us", text, 1, 1000000, &out->loop_deadline_us);
        case LOOP_LIMIT:
            return read_limit(text, out);
        case LOOP_DELAY:
            return read_u32("loop-delay-us", text, 0, 1000000, &out->loop_delay_us);
        case LOOP_DELAY_EVERY:
            return read_u32("loop-delay-every", text, 1, UINT32_MAX, &out->loop_delay_interval);
        case PRIORITY:
            if (!read_u32("priority", text, 0, 99, &number)) {
                return false;
            }
            out->priority = (int)number;
            return true;
        case IGNORE_INTERRUPT:
            out->ignore_interrupt = true;
            return true;
        case DIE_WITH_PARENT:
            out->die_with_parent = true;
            return true;
        default:
            return false;
    }
}

static uint32_t drawn_boot_id(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint32_t)now.tv_sec * 2654435761u ^ (uint32_t)now.tv_nsec ^ (uint32_t)getpid() << 16;
}

options_verdict options_parse(int argc, char **argv, options *out) {
    *out = (options){
        .seed = 1,
        .angle_rad = 0.1,
        .noise = 1.0,
        .push_interval_s = 4.0,
        .rate_hz = 1000,
        .n_sensor = 4,
        .command_timeout_ms = 20,
        .plant_fd = -1,
        .boot_id = drawn_boot_id(),
        .loop_class = RTL_CLASS_SOFT,
        .loop_delay_interval = 1,
    };
    int id;
    while ((id = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        if (id == 'h') {
            fputs(help, stdout);
            return OPTIONS_HELP;
        }
        if (id == '?' || !take(id, optarg, out)) {
            fputs("see rtloop-firmware --help\n", stderr);
            return OPTIONS_WRONG;
        }
    }
    const char *const plant = argc - optind == 1 ? argv[optind] : "";
    const bool is_remote = strcmp(plant, "remote") == 0;
    if (!is_remote && strcmp(plant, "cartpole") != 0) {
        fputs(
            "rtloop-firmware: name the plant to simulate: cartpole or remote\n"
            "see rtloop-firmware --help\n",
            stderr);
        return OPTIONS_WRONG;
    }
    if (out->zmq_address != NULL && out->udp_address != NULL) {
        fputs(
            "rtloop-firmware: --zmq and --udp exclude each other\n"
            "see rtloop-firmware --help\n",
            stderr);
        return OPTIONS_WRONG;
    }
    if (is_remote != (out->plant_fd >= 0)) {
        fputs(
            "rtloop-firmware: --plant-fd belongs to remote, and remote needs it\n"
            "see rtloop-firmware --help\n",
            stderr);
        return OPTIONS_WRONG;
    }
    const uint32_t period_us = 1000000u / out->rate_hz;
    if (out->loop_deadline_us > period_us) {
        fprintf(stderr,
                "rtloop-firmware: --loop-deadline-us is %u; give at most the period, %u\n"
                "see rtloop-firmware --help\n",
                (unsigned)out->loop_deadline_us, (unsigned)period_us);
        return OPTIONS_WRONG;
    }
    return OPTIONS_RUN;
}
