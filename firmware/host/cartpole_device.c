#include "cartpole_device.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* The actuator saturates; twice that is no command that a sane host sends. */
#define HARD_LIMIT_FACTOR 2.0

#define PLANT_SENSORS 4u

/* ---- rtl_hardware -------------------------------------------------------------------------- */

static void advance(machine *base);

static uint64_t sample(void *context, float *values) {
    cartpole_device *const self = context;
    advance(&self->base);
    cartpole_sense(&self->plant, values);
    self->samples++;
    for (uint32_t i = PLANT_SENSORS; i < self->n_sensor; ++i) {
        values[i] = (float)(self->samples % 65536u);
    }
    return machine_now_us(self);
}

static void apply(void *context, const float *values) {
    cartpole_device *const self = context;
    advance(&self->base); /* the old force acted until now */
    if (self->base.device.state != RTL_STATE_ACTIVE) {
        return; /* it reached the end of the track with it */
    }
    self->force_n = (double)values[0];
}

static void safe(void *context) {
    cartpole_device *const self = context;
    self->force_n = 0.0;
}

/* ---- plant --------------------------------------------------------------------------------- */

static void judge(cartpole_device *self) {
    const rtl_device *const device = &self->base.device;
    const bool in_trouble =
        device->state == RTL_STATE_SAFE && (device->reasons & ~(unsigned)RTL_REASON_HOST_STOP) != 0;
    if (device->state != RTL_STATE_ACTIVE && !in_trouble) {
        return;
    }
    const double dt_s = self->plant.params.dt_s;
    const double angle_rad = fabs(self->plant.state.pole_angle_rad);
    self->judged_s += dt_s;
    self->fell = self->fell || !cartpole_upright(&self->plant);
    if (!self->fell) {
        self->upright_s += dt_s;
    }
    if (angle_rad > self->max_angle_rad) {
        self->max_angle_rad = angle_rad;
    }
}

static void stop_at_track_end(cartpole_device *self) {
    cartpole_state *const state = &self->plant.state;
    if (fabs(state->cart_position_m) <= CARTPOLE_TRACK_HALF_LENGTH_M) {
        return;
    }
    state->cart_position_m = copysign(CARTPOLE_TRACK_HALF_LENGTH_M, state->cart_position_m);
    state->cart_velocity_m_s = 0.0;
    rtl_device_trip(&self->base.device, RTL_REASON_LIMIT);
}

static void advance(machine *base) {
    cartpole_device *const self = (cartpole_device *)base;
    const int64_t step_ns = (int64_t)(self->plant.params.dt_s * 1e9 + 0.5);
    for (uint32_t due = machine_take_steps(base, step_ns); due > 0; --due) {
        cartpole_step(&self->plant, self->force_n);
        judge(self);
        stop_at_track_end(self);
    }
}

static void print_plant(const machine *base, FILE *stream) {
    const cartpole_device *const self = (const cartpole_device *)base;
    fprintf(stream,
            ", \"upright_s\": %.4f, \"max_angle_rad\": %.6f, \"fell\": %s, \"elapsed_s\": %.4f",
            self->upright_s, self->max_angle_rad, self->fell ? "true" : "false", self->judged_s);
}

/* ---- start --------------------------------------------------------------------------------- */

static void write_schema(cartpole_device *self, unsigned rate_hz) {
    char *const text = self->base.schema;
    const size_t room = sizeof self->base.schema;
    int n = snprintf(text, room,
                     "rtloop-schema 1\n"
                     "name cartpole\n"
                     "sensor cart_position m f32 %u\n"
                     "sensor cart_velocity m/s f32 %u\n"
                     "sensor pole_angle rad f32 %u\n"
                     "sensor pole_rate rad/s f32 %u\n",
                     rate_hz, rate_hz, rate_hz, rate_hz);
    for (unsigned i = PLANT_SENSORS; i < self->n_sensor; ++i) {
        n += snprintf(text + n, room - (size_t)n, "sensor count_%u - f32 %u\n", i, rate_hz);
    }
    snprintf(text + n, room - (size_t)n, "command force N f32 %u\n", rate_hz);
}

static void init_plant(cartpole_device *self, const options *chosen) {
    cartpole_params params = cartpole_default_params();
    params.noise = chosen->noise;
    params.push_newton = chosen->push_newton;
    params.push_interval_s = chosen->push_interval_s;
    cartpole_init(&self->plant, &params, chosen->seed, chosen->angle_rad);
    self->force_max_n = (float)(HARD_LIMIT_FACTOR * params.force_limit_n);
    self->force_min_n = -self->force_max_n;
}

bool cartpole_device_open(cartpole_device *self, const options *chosen, char *error,
                          size_t error_size) {
    memset(self, 0, sizeof *self);
    self->base.plant_fd = -1;
    self->base.advance = advance;
    self->base.print_plant = print_plant;
    init_plant(self, chosen);
    self->n_sensor = chosen->n_sensor;
    write_schema(self, chosen->rate_hz);
    const machine_kind kind = {
        .name = "cartpole",
        .n_sensor = chosen->n_sensor,
        .n_command = 1,
        .sample = sample,
        .apply = apply,
        .safe = safe,
        .command_min = &self->force_min_n,
        .command_max = &self->force_max_n,
    };
    return machine_open(&self->base, &kind, chosen, error, error_size);
}
