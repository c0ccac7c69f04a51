#include "cartpole_device.h"

#include <stdio.h>
#include <string.h>

/* ---- rtl_hardware -------------------------------------------------------------------------- */

static void advance(machine *base);

static uint64_t sample(void *context, float *values) {
    cartpole_device *const self = context;
    advance(&self->base);
    cartpole_sense(&self->cart.plant, values);
    self->samples++;
    for (uint32_t i = CARTPOLE_SENSORS; i < self->n_sensor; ++i) {
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
    self->cart.force_n = (double)values[0];
}

static void safe(void *context) {
    cartpole_device *const self = context;
    self->cart.force_n = 0.0;
}

/* ---- plant --------------------------------------------------------------------------------- */

static void advance(machine *base) {
    cartpole_device *const self = (cartpole_device *)base;
    const int64_t step_ns = (int64_t)(self->cart.plant.params.dt_s * 1e9 + 0.5);
    for (uint32_t due = machine_take_steps(base, step_ns); due > 0; --due) {
        driven_cartpole_step(&self->cart);
    }
}

static void print_plant(const machine *base, FILE *stream) {
    const driven_cartpole *const cart = &((const cartpole_device *)base)->cart;
    fprintf(stream,
            ", \"upright_s\": %.4f, \"max_angle_rad\": %.6f, \"fell\": %s, \"elapsed_s\": %.4f",
            driven_cartpole_upright_s(cart), cart->max_angle_rad, cart->fell ? "true" : "false",
            driven_cartpole_judged_s(cart));
}

/* ---- start --------------------------------------------------------------------------------- */

static void init_plant(cartpole_device *self, const options *chosen) {
    cartpole_params params = cartpole_default_params();
    params.noise = chosen->noise;
    params.push_newton = chosen->push_newton;
    params.push_interval_s = chosen->push_interval_s;
    driven_cartpole_init(&self->cart, &self->base.device, &params, chosen->seed, chosen->angle_rad);
}

bool cartpole_device_open(cartpole_device *self, const options *chosen, char *error,
                          size_t error_size) {
    memset(self, 0, sizeof *self);
    self->base.plant_fd = -1;
    self->base.advance = advance;
    self->base.print_plant = print_plant;
    init_plant(self, chosen);
    self->n_sensor = chosen->n_sensor;
    driven_cartpole_write_schema(self->base.schema, sizeof self->base.schema, chosen->rate_hz,
                                 chosen->n_sensor - CARTPOLE_SENSORS);
    const machine_kind kind = {
        .name = "cartpole",
        .n_sensor = chosen->n_sensor,
        .n_command = 1,
        .sample = sample,
        .apply = apply,
        .safe = safe,
        .command_min = &self->cart.force_min_n,
        .command_max = &self->cart.force_max_n,
    };
    return machine_open(&self->base, &kind, chosen, error, error_size);
}
