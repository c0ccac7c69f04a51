#include "options.h"

#include <stdlib.h>
#include <string.h>

#include "rtloop/messages.h"

static uint32_t number(const char *text) {
    return (uint32_t)strtoul(text, NULL, 10);
}

static void read_loop(const char *name, const char *text, options *out) {
    if (strcmp(name, "--loop-class") == 0) {
        out->loop_class = text[0] == 'h'   ? RTL_CLASS_HARD
                          : text[0] == 'f' ? RTL_CLASS_FIRM
                                           : RTL_CLASS_SOFT;
    } else if (strcmp(name, "--loop-deadline-us") == 0) {
        out->loop_deadline_us = number(text);
    } else if (strcmp(name, "--loop-limit") == 0) {
        char *window;
        out->loop_max_misses = (uint16_t)strtoul(text, &window, 10);
        out->loop_window = (uint16_t)number(window + 1);
    } else if (strcmp(name, "--loop-delay-us") == 0) {
        out->loop_delay_us = number(text);
    } else if (strcmp(name, "--loop-delay-every") == 0) {
        out->loop_delay_every = number(text);
    }
}

static void read_device(const char *name, const char *text, options *out) {
    if (strcmp(name, "--rate-hz") == 0) {
        out->rate_hz = number(text);
    } else if (strcmp(name, "--command-timeout-ms") == 0) {
        out->command_timeout_ms = number(text);
    } else if (strcmp(name, "--boot-id") == 0) {
        out->boot_id = number(text);
    } else if (strcmp(name, "--clock-start-us") == 0) {
        out->clock_start_us = strtoull(text, NULL, 10);
    } else if (strcmp(name, "--clock-drift-ppm") == 0) {
        out->clock_drift_ppm = (int32_t)strtol(text, NULL, 10);
    }
}

static void read_plant(const char *name, const char *text, options *out) {
    if (strcmp(name, "--seed") == 0) {
        out->seed = number(text);
    } else if (strcmp(name, "--angle-rad") == 0) {
        out->angle_rad = strtod(text, NULL);
    } else if (strcmp(name, "--noise") == 0) {
        out->noise = strtod(text, NULL);
    } else if (strcmp(name, "--push-newton") == 0) {
        out->push_newton = strtod(text, NULL);
    } else if (strcmp(name, "--push-interval-s") == 0) {
        out->push_interval_s = strtod(text, NULL);
    }
}

options options_read(int argc, char **argv) {
    options out = {.rate_hz = 200,
                   .command_timeout_ms = 100,
                   .push_interval_s = 4.0,
                   .loop_class = RTL_CLASS_SOFT,
                   .loop_delay_every = 1};
    for (int i = 1; i + 1 < argc; i += 2) {
        read_device(argv[i], argv[i + 1], &out);
        read_loop(argv[i], argv[i + 1], &out);
        read_plant(argv[i], argv[i + 1], &out);
    }
    return out;
}
