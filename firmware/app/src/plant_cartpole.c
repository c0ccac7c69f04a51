/* The cart-pole of firmware/host: the policy of `rtloop demo` balances it. */
#include <math.h>
#include <zephyr/kernel.h>

#include "cartpole.h"
#include "loop.h"
#include "plant.h"

#define RATE STRINGIFY(CONFIG_APP_RATE_HZ)
#define SEED 1u
#define ANGLE_RAD (IS_ENABLED(CONFIG_APP_PLANT_STILL) ? 0.0 : 0.05)

/* A stop of the whole system longer than this is not simulated in a rush. */
#define CATCH_UP_MAX_US 20000u

/* The actuator saturates at 10 N; twice that is no command that a sane host sends. */
const plant_description plant = {
    .schema =
        "rtloop-schema 1\n"
        "name cartpole\n"
        "sensor cart_position m f32 " RATE
        "\n"
        "sensor cart_velocity m/s f32 " RATE
        "\n"
        "sensor pole_angle rad f32 " RATE
        "\n"
        "sensor pole_rate rad/s f32 " RATE
        "\n"
        "command force N f32 " RATE "\n",
    .n_sensor = 4,
    .n_command = 1,
    .command_min = {-20.0f},
    .command_max = {20.0f},
};

static cartpole cart;
static uint64_t simulated_us; /* the cart was brought to this time */
static bool is_released;      /* it is held still until the loop is ACTIVE */
static volatile float force_n;

static void put_upright(void) {
    cartpole_params params = cartpole_default_params();
    params.dt_s = CONFIG_APP_PLANT_STEP_US * 1e-6;
    params.noise = IS_ENABLED(CONFIG_APP_PLANT_STILL) ? 0.0 : params.noise;
    cartpole_init(&cart, &params, SEED, ANGLE_RAD);
    is_released = false;
}

static void advance(rtl_device *device) {
    const uint64_t now_us = loop_now_us();
    if (now_us - simulated_us > CATCH_UP_MAX_US) {
        simulated_us = now_us - CATCH_UP_MAX_US;
    }
    for (; is_released && simulated_us + CONFIG_APP_PLANT_STEP_US <= now_us;
         simulated_us += CONFIG_APP_PLANT_STEP_US) {
        cartpole_step(&cart, (double)force_n);
        if (fabs(cart.state.cart_position_m) > CARTPOLE_TRACK_HALF_LENGTH_M) {
            is_released = false; /* against the end of the track */
            rtl_device_trip(device, RTL_REASON_LIMIT);
        }
    }
}

int plant_start(void) {
    put_upright();
    return 0;
}

uint64_t plant_sample(void *context, float *values) {
    advance(context);
    cartpole_sense(&cart, values);
    return loop_now_us();
}

void plant_apply(void *context, const float *values) {
    rtl_device *const device = context;
    advance(device); /* the old force acted until now */
    if (device->state == RTL_STATE_ACTIVE) {
        force_n = values[0];
    }
}

void plant_safe(void *context) {
    ARG_UNUSED(context);
    force_n = 0.0f;
}

/* Whoever arms it has put the pole up again. */
void plant_state_changed(void *context, rtl_state state, uint16_t reasons) {
    ARG_UNUSED(context), ARG_UNUSED(reasons);
    if (state == RTL_STATE_ARMED && !cartpole_upright(&cart)) {
        put_upright();
    } else if (state == RTL_STATE_ACTIVE && !is_released) {
        is_released = true;
        simulated_us = loop_now_us();
    }
}
