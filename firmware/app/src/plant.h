/*
 * The machine behind the loop: the board's own, plant_board.c, or where the devicetree has none a
 * simulated one, plant_cartpole.c. The functions are those of rtl_hardware, whose context is the
 * rtl_device; the loop calls them.
 */
#ifndef APP_PLANT_H_
#define APP_PLANT_H_

#include "rtloop/device.h"

#define PLANT_COMMANDS_MAX 8

typedef struct plant_description {
    const char *schema;
    uint8_t n_sensor, n_command;
    float command_min[PLANT_COMMANDS_MAX], command_max[PLANT_COMMANDS_MAX]; /* hard limits */
} plant_description;

extern const plant_description plant;

/* Before the loop runs. Returns 0, or -errno when the machine does not work. */
int plant_start(void);

uint64_t plant_sample(void *context, float *values);
void plant_apply(void *context, const float *values);
/* From any context, the watchdog's interrupt and a fault among them: takes no lock. The context is
 * NULL where there is no device yet, or something is broken. */
void plant_safe(void *context);
void plant_state_changed(void *context, rtl_state state, uint16_t reasons);

#endif
