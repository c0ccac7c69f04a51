/* The cart-pole of firmware/host: the policy of `rtloop demo` balances it. */
#include <zephyr/sys/util.h>

#include "device_time.h"
#include "driven_cartpole.h"
#include "plant.h"

#define SEED 1u
#define ANGLE_RAD (IS_ENABLED(CONFIG_APP_PLANT_STILL) ? 0.0 : 0.05)
#define CATCH_UP_US 20000u

static driven_cartpole cart;
static char schema[256];

/* The actuator saturates at 10 N; twice that is no command that a sane host sends. */
const plant_description plant = {
    .schema = schema,
    .n_sensor = CARTPOLE_SENSORS,
    .n_command = 1,
    .command_min = {-20.0f},
    .command_max = {20.0f},
};

static void put_upright(rtl_device *device) {
    cartpole_params params = cartpole_default_params();
    params.dt_s = CONFIG_APP_PLANT_STEP_US * 1e-6;
    params.noise = IS_ENABLED(CONFIG_APP_PLANT_STILL) ? 0.0 : params.noise;
    driven_cartpole_init(&cart, device, &params, SEED, ANGLE_RAD);
}

int plant_start(void) {
    put_upright(NULL);
    driven_cartpole_write_schema(schema, sizeof schema, CONFIG_APP_RATE_HZ, 0);
    return 0;
}

uint64_t plant_sample(void *context, float *values) {
    driven_cartpole_advance(&cart, device_time_us(), CATCH_UP_US);
    cartpole_sense(&cart.plant, values);
    return device_time_us();
}

void plant_apply(void *context, const float *values) {
    driven_cartpole_advance(&cart, device_time_us(),
                            CATCH_UP_US); /* the old force acted until now */
    if (((const rtl_device *)context)->state == RTL_STATE_ACTIVE) {
        cart.force_n = (double)values[0];
    }
}

void plant_safe(void *context) {
    cart.force_n = 0.0;
}

/* Whoever arms it has put the pole up again. */
void plant_state_changed(void *context, rtl_state state, uint16_t reasons) {
    if (state == RTL_STATE_ARMED && !cartpole_upright(&cart.plant)) {
        put_upright(context);
    } else if (state == RTL_STATE_ACTIVE) {
        cart.device = context;
        driven_cartpole_release(&cart, device_time_us());
    }
}
