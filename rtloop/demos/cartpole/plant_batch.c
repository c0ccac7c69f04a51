/* Steps many cart-poles in one call, so that training does not pay for a Python call per plant.
 * Built together with firmware/host/cartpole.c by plant.py; knows nothing of the dynamics. */
#include <stddef.h>

#include "cartpole.h"

size_t plants_sizeof(void) {
    return sizeof(cartpole);
}

/* start: cart position, cart velocity, pole angle, pole rate. extra_delay_s is added to the
 * actuator's own delay: for the loop it is the same as a slower wire. */
void plants_init(cartpole *plants, size_t index, uint64_t seed, const double start[4],
                 double extra_delay_s, double noise, double push_newton, double push_interval_s) {
    cartpole_params params = cartpole_default_params();
    params.actuator_delay_s += extra_delay_s;
    params.noise = noise;
    params.push_newton = push_newton;
    params.push_interval_s = push_interval_s;
    cartpole_init(&plants[index], &params, seed, start[2]);
    plants[index].state = (cartpole_state){start[0], start[1], start[2], start[3]};
}

/* Holds force[i] for steps[i] inner steps; upright[i] becomes 0 when the pole fell on the way. */
void plants_step(cartpole *plants, size_t count, const double *force, const uint32_t *steps,
                 uint8_t *upright) {
    for (size_t i = 0; i < count; i++) {
        uint8_t stood = 1;
        for (uint32_t k = 0; k < steps[i]; k++) {
            cartpole_step(&plants[i], force[i]);
            stood &= (uint8_t)cartpole_upright(&plants[i]);
        }
        upright[i] = stood;
    }
}

void plants_sense(cartpole *plants, size_t count, float *out) {
    for (size_t i = 0; i < count; i++) {
        cartpole_sense(&plants[i], &out[4 * i]);
    }
}

/* The exact state, for rewards and scores; a policy sees plants_sense() only. */
void plants_state(const cartpole *plants, size_t count, double *out) {
    for (size_t i = 0; i < count; i++) {
        const cartpole_state *s = &plants[i].state;
        out[4 * i] = s->cart_position_m;
        out[4 * i + 1] = s->cart_velocity_m_s;
        out[4 * i + 2] = s->pole_angle_rad;
        out[4 * i + 3] = s->pole_rate_rad_s;
    }
}
