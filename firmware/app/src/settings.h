/*
 * What a device keeps over restarts, beneath "rtloop/": who it is, and how much less it may do than
 * its machine can. Written with the kernel's own shell, `settings write string rtloop/name left`,
 * and taken at the next start.
 */
#ifndef APP_SETTINGS_H_
#define APP_SETTINGS_H_

#include <stdint.h>

#include "plant.h"

typedef struct device_settings {
    char name[RTL_NAME_SIZE];              /* rtloop/name */
    uint32_t command_timeout_ms;           /* rtloop/timeout_ms, at most the maximum */
    uint32_t limit_percent;                /* rtloop/limit_percent of the plant's hard limits */
    float command_min[PLANT_COMMANDS_MAX]; /* of these, what the percentage leaves */
    float command_max[PLANT_COMMANDS_MAX];
} device_settings;

extern device_settings settings;

/* Before the loop runs. What is missing or out of range stays at its default, and is logged. */
void settings_start(void);

#endif
