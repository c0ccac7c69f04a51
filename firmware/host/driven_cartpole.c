#include "driven_cartpole.h"

#include <math.h>
#include <stdio.h>

/* The actuator saturates; twice that is no command that a sane host sends. */
#define HARD_LIMIT_FACTOR 2.0

void driven_cartpole_init(driven_cartpole *self, rtl_device *device, const cartpole_params *params,
                          uint64_t seed, double initial_angle_rad) {
    *self = (driven_cartpole){.device = device};
    cartpole_init(&self->plant, params, seed, initial_angle_rad);
    self->force_max_n = (float)(HARD_LIMIT_FACTOR * params->force_limit_n);
    self->force_min_n = -self->force_max_n;
}

static void judge(driven_cartpole *self) {
    const rtl_device *const device = self->device;
    const bool in_trouble =
        device->state == RTL_STATE_SAFE && (device->reasons & ~(unsigned)RTL_REASON_HOST_STOP) != 0;
    if (device->state != RTL_STATE_ACTIVE && !in_trouble) {
        return;
    }
    const double angle_rad = fabs(self->plant.state.pole_angle_rad);
    self->judged_steps++;
    self->fell = self->fell || !cartpole_upright(&self->plant);
    if (!self->fell) {
        self->upright_steps++;
    }
    if (angle_rad > self->max_angle_rad) {
        self->max_angle_rad = angle_rad;
    }
}

static void stop_at_track_end(driven_cartpole *self) {
    cartpole_state *const state = &self->plant.state;
    if (fabs(state->cart_position_m) <= CARTPOLE_TRACK_HALF_LENGTH_M) {
        return;
    }
    state->cart_position_m = copysign(CARTPOLE_TRACK_HALF_LENGTH_M, state->cart_position_m);
    state->cart_velocity_m_s = 0.0;
    rtl_device_trip(self->device, RTL_REASON_LIMIT);
}

void driven_cartpole_step(driven_cartpole *self) {
    cartpole_step(&self->plant, self->force_n);
    judge(self);
    stop_at_track_end(self);
}

void driven_cartpole_release(driven_cartpole *self, uint64_t now_us) {
    self->lived_us = self->is_released ? self->lived_us : now_us;
    self->is_released = true;
}

void driven_cartpole_advance(driven_cartpole *self, uint64_t now_us, uint64_t catch_up_us) {
    const uint64_t step_us = (uint64_t)(self->plant.params.dt_s * 1e6 + 0.5);
    if (!self->is_released) {
        return;
    }
    if (now_us - self->lived_us > catch_up_us) {
        self->dropped_us += now_us - self->lived_us - catch_up_us;
        self->lived_us = now_us - catch_up_us;
    }
    for (; now_us - self->lived_us >= step_us; self->lived_us += step_us) {
        driven_cartpole_step(self);
    }
}

double driven_cartpole_judged_s(const driven_cartpole *self) {
    return (double)self->judged_steps * self->plant.params.dt_s;
}

double driven_cartpole_upright_s(const driven_cartpole *self) {
    return (double)self->upright_steps * self->plant.params.dt_s;
}

void driven_cartpole_write_schema(char *text, size_t room, unsigned rate_hz, unsigned n_more) {
    int n = snprintf(text, room,
                     "rtloop-schema 1\n"
                     "name cartpole\n"
                     "sensor cart_position m f32 %u\n"
                     "sensor cart_velocity m/s f32 %u\n"
                     "sensor pole_angle rad f32 %u\n"
                     "sensor pole_rate rad/s f32 %u\n",
                     rate_hz, rate_hz, rate_hz, rate_hz);
    for (unsigned i = 0; i < n_more; ++i) {
        n += snprintf(text + n, room - (size_t)n, "sensor count_%u - f32 %u\n",
                      i + CARTPOLE_SENSORS, rate_hz);
    }
    snprintf(text + n, room - (size_t)n, "command force N f32 %u\n", rate_hz);
}
