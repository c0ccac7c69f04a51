#include "cartpole.h"

#include <math.h>

static const double kTwoPi = 6.283185307179586476925;

cartpole_params cartpole_default_params(void) {
    return (cartpole_params){
        .cart_mass_kg = 1.0,
        .pole_mass_kg = 0.1,
        .pole_half_length_m = 0.5,
        .gravity_m_s2 = 9.81,
        .cart_friction_n_s_m = 0.1,
        .hinge_friction_n_m_s = 0.002,
        .dt_s = 1e-4,
        .noise = 1.0,
        .noise_deviation = {0.0005, 0.01, 0.001, 0.02},
        .push_newton = 0.0,
        .push_interval_s = 4.0,
        .push_duration_s = 0.03,
        .actuator_delay_s = 0.002,
        .force_limit_n = 10.0,
    };
}

/* SplitMix64 (Steele, Lea, Flood 2014): one word of state, and any seed is a good one. */
static uint64_t random_word(uint64_t *random) {
    uint64_t z = *random += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* Uniform in [0, 1). */
static double random_uniform(uint64_t *random) {
    return (double)(random_word(random) >> 11) * 0x1p-53;
}

/* Two independent standard normal values (Box-Muller). */
static void random_normal_pair(uint64_t *random, double out[2]) {
    const double radius = sqrt(-2.0 * log(1.0 - random_uniform(random)));
    const double angle = kTwoPi * random_uniform(random);
    out[0] = radius * cos(angle);
    out[1] = radius * sin(angle);
}

static uint64_t to_steps(const cartpole *plant, double seconds) {
    return seconds > 0.0 ? (uint64_t)(seconds / plant->params.dt_s + 0.5) : 0;
}

/* Draws the push that follows `after`: between half and one and a half intervals later. */
static void schedule_push(cartpole *plant, uint64_t after) {
    const cartpole_params *p = &plant->params;
    uint64_t *random = &plant->push_random;

    plant->push_begin =
        after + to_steps(plant, p->push_interval_s * (0.5 + random_uniform(random)));
    plant->push_end = plant->push_begin + to_steps(plant, p->push_duration_s);
    plant->push_force_n = p->push_newton * (2.0 * random_uniform(random) - 1.0);
    plant->push_on_pole = (random_word(random) >> 63) != 0;
}

void cartpole_init(cartpole *plant, const cartpole_params *params, uint64_t seed,
                   double initial_angle_rad) {
    *plant = (cartpole){.params = *params};
    plant->state.pole_angle_rad = initial_angle_rad;

    uint64_t delay_steps = to_steps(plant, params->actuator_delay_s);
    if (delay_steps > CARTPOLE_DELAY_STEPS_MAX) {
        delay_steps = CARTPOLE_DELAY_STEPS_MAX;
    }
    plant->delay_steps = (uint32_t)delay_steps;

    uint64_t streams = seed;
    plant->push_random = random_word(&streams);
    plant->noise_random = random_word(&streams);
    schedule_push(plant, 0);
}

/* Time derivative of the state under constant forces.
 *
 * R. V. Florian, "Correct equations for the dynamics of the cart-pole system", Center for
 * Cognitive and Neural Studies (Coneural), Romania, 2007, for a uniform rod (4/3); its dry
 * friction of the cart is replaced by viscous friction, which is smooth and so keeps the order of
 * Runge-Kutta, and a horizontal push on the pole's centre of mass is added. */
static cartpole_state derivative(const cartpole_params *p, const cartpole_state *s,
                                 double cart_force_n, double pole_force_n) {
    const double sine = sin(s->pole_angle_rad);
    const double cosine = cos(s->pole_angle_rad);
    const double total_mass = p->cart_mass_kg + p->pole_mass_kg;
    const double mass_length = p->pole_mass_kg * p->pole_half_length_m;

    const double horizontal =
        (cart_force_n + pole_force_n - p->cart_friction_n_s_m * s->cart_velocity_m_s +
         mass_length * s->pole_rate_rad_s * s->pole_rate_rad_s * sine) /
        total_mass;
    const double torque = pole_force_n * p->pole_half_length_m * cosine -
                          p->hinge_friction_n_m_s * s->pole_rate_rad_s;
    const double pole_acceleration =
        (p->gravity_m_s2 * sine - cosine * horizontal + torque / mass_length) /
        (p->pole_half_length_m * (4.0 / 3.0 - p->pole_mass_kg * cosine * cosine / total_mass));

    return (cartpole_state){
        .cart_position_m = s->cart_velocity_m_s,
        .cart_velocity_m_s = horizontal - mass_length * pole_acceleration * cosine / total_mass,
        .pole_angle_rad = s->pole_rate_rad_s,
        .pole_rate_rad_s = pole_acceleration,
    };
}

static cartpole_state advanced(const cartpole_state *s, const cartpole_state *slope, double dt_s) {
    return (cartpole_state){
        .cart_position_m = s->cart_position_m + dt_s * slope->cart_position_m,
        .cart_velocity_m_s = s->cart_velocity_m_s + dt_s * slope->cart_velocity_m_s,
        .pole_angle_rad = s->pole_angle_rad + dt_s * slope->pole_angle_rad,
        .pole_rate_rad_s = s->pole_rate_rad_s + dt_s * slope->pole_rate_rad_s,
    };
}

static double saturated(double force_n, double limit_n) {
    if (!isfinite(force_n)) {
        return 0.0;
    }
    return force_n > limit_n ? limit_n : force_n < -limit_n ? -limit_n : force_n;
}

/* Puts the command into the delay line and takes out the one that is due. */
static double delayed(cartpole *plant, double force_n) {
    const uint32_t size = CARTPOLE_DELAY_STEPS_MAX + 1;

    plant->delay_line[plant->delay_head] = force_n;
    const uint32_t due = (plant->delay_head + size - plant->delay_steps) % size;
    plant->delay_head = (plant->delay_head + 1) % size;
    return plant->delay_line[due];
}

static void update_push(cartpole *plant) {
    plant->cart_push_n = 0.0;
    plant->pole_push_n = 0.0;
    if (plant->params.push_newton <= 0.0 || plant->params.push_interval_s <= 0.0) {
        return;
    }
    if (plant->steps >= plant->push_end) {
        schedule_push(plant, plant->push_end);
    }
    if (plant->steps >= plant->push_begin) {
        if (plant->push_on_pole) {
            plant->pole_push_n = plant->push_force_n;
        } else {
            plant->cart_push_n = plant->push_force_n;
        }
    }
}

void cartpole_step(cartpole *plant, double force_n) {
    const cartpole_params *p = &plant->params;
    const cartpole_state *s = &plant->state;
    const double dt_s = p->dt_s;

    plant->applied_force_n = delayed(plant, saturated(force_n, p->force_limit_n));
    update_push(plant);
    const double cart_force_n = plant->applied_force_n + plant->cart_push_n;
    const double pole_force_n = plant->pole_push_n;

    const cartpole_state k1 = derivative(p, s, cart_force_n, pole_force_n);
    const cartpole_state s2 = advanced(s, &k1, 0.5 * dt_s);
    const cartpole_state k2 = derivative(p, &s2, cart_force_n, pole_force_n);
    const cartpole_state s3 = advanced(s, &k2, 0.5 * dt_s);
    const cartpole_state k3 = derivative(p, &s3, cart_force_n, pole_force_n);
    const cartpole_state s4 = advanced(s, &k3, dt_s);
    const cartpole_state k4 = derivative(p, &s4, cart_force_n, pole_force_n);

    cartpole_state next = advanced(s, &k1, dt_s / 6.0);
    next = advanced(&next, &k2, dt_s / 3.0);
    next = advanced(&next, &k3, dt_s / 3.0);
    plant->state = advanced(&next, &k4, dt_s / 6.0);
    plant->steps++;
}

void cartpole_sense(cartpole *plant, float out[4]) {
    const cartpole_params *p = &plant->params;
    const cartpole_state *s = &plant->state;
    const double exact[4] = {s->cart_position_m, s->cart_velocity_m_s, s->pole_angle_rad,
                             s->pole_rate_rad_s};

    for (int i = 0; i < 4; i += 2) {
        double normal[2];
        random_normal_pair(&plant->noise_random, normal);
        out[i] = (float)(exact[i] + p->noise * p->noise_deviation[i] * normal[0]);
        out[i + 1] = (float)(exact[i + 1] + p->noise * p->noise_deviation[i + 1] * normal[1]);
    }
}

bool cartpole_upright(const cartpole *plant) {
    return fabs(plant->state.pole_angle_rad) < CARTPOLE_UPRIGHT_RAD &&
           fabs(plant->state.cart_position_m) < CARTPOLE_TRACK_HALF_LENGTH_M;
}
