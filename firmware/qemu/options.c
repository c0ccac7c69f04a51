#include "options.h"

#include <stdlib.h>
#include <string.h>

static void read_pair(const char *name, const char *text, options *out) {
    if (strcmp(name, "--seed") == 0) {
        out->seed = (uint32_t)strtoul(text, NULL, 10);
    } else if (strcmp(name, "--rate-hz") == 0) {
        out->rate_hz = (uint32_t)strtoul(text, NULL, 10);
    } else if (strcmp(name, "--command-timeout-ms") == 0) {
        out->command_timeout_ms = (uint32_t)strtoul(text, NULL, 10);
    } else if (strcmp(name, "--boot-id") == 0) {
        out->boot_id = (uint32_t)strtoul(text, NULL, 10);
    } else if (strcmp(name, "--clock-start-us") == 0) {
        out->clock_start_us = strtoull(text, NULL, 10);
    } else if (strcmp(name, "--clock-drift-ppm") == 0) {
        out->clock_drift_ppm = (int32_t)strtol(text, NULL, 10);
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
    options out = {.rate_hz = 200, .command_timeout_ms = 100, .push_interval_s = 4.0};
    for (int i = 1; i + 1 < argc; i += 2) {
        read_pair(argv[i], argv[i + 1], &out);
    }
    return out;
}
