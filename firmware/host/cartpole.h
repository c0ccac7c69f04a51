/* The simulated cart-pole that stands in for real hardware: the host firmware drives it, and
 * rtloop/demos/cartpole/train.py trains its policy on this very code.
 *
 * C11 and libm only: no allocation, no clock, no I/O. A run is fixed by its parameters, its seed
 * and the forces it was given, so two equal runs are equal bit for bit (same compiler, same libm).
 *
 * Signs: a positive force pushes the cart towards +x; angle 0 is upright and a positive angle
 * leans towards +x. The angle is not wrapped. The track has no end stops: the pole may fall
 * through the horizontal and the cart may leave; cartpole_upright() tells.
 */
#ifndef RTLOOP_HOST_CARTPOLE_H_
#define RTLOOP_HOST_CARTPOLE_H_

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The longest actuator delay, in steps of dt_s (102.3 ms at the default step). */
#ifndef CARTPOLE_DELAY_STEPS_MAX
#define CARTPOLE_DELAY_STEPS_MAX 1023
#endif

/* Limits of cartpole_upright(). */
#define CARTPOLE_UPRIGHT_RAD 0.5
#define CARTPOLE_TRACK_HALF_LENGTH_M 2.4

typedef struct {
    double cart_position_m;
    double cart_velocity_m_s;
    double pole_angle_rad;
    double pole_rate_rad_s;
} cartpole_state;

typedef struct {
    double cart_mass_kg;
    double pole_mass_kg;
    double pole_half_length_m; /* hinge to centre of mass; the pole is a uniform rod */
    double gravity_m_s2;
    double cart_friction_n_s_m;  /* viscous, cart on track */
    double hinge_friction_n_m_s; /* viscous, pole on hinge */
    double dt_s;                 /* inner integration step */
    double noise;                /* 0 = exact sensors, 1 = the deviations below */
    double noise_deviation[4];   /* standard deviations in the order of cartpole_sense() */
    double push_newton;          /* the strongest push; 0 = none. 2 is lively, 4 is rough */
    double push_interval_s;      /* mean time between pushes */
    double push_duration_s;      /* how long one push lasts */
    double actuator_delay_s;     /* pure delay from command to force, rounded to steps */
    double force_limit_n;        /* actuator saturation, symmetric */
} cartpole_params;

typedef struct {
    cartpole_params params;
    cartpole_state state;
    uint64_t steps;         /* steps taken since cartpole_init(); time is steps * dt_s */
    double applied_force_n; /* what the actuator did in the last step: delayed, saturated */
    double cart_push_n;     /* disturbances of the last step */
    double pole_push_n;     /* horizontal, at the pole's centre of mass */

    /* private */
    double delay_line[CARTPOLE_DELAY_STEPS_MAX + 1];
    uint32_t delay_steps;
    uint32_t delay_head;
    uint64_t push_begin;
    uint64_t push_end;
    double push_force_n;
    bool push_on_pole;
    uint64_t push_random;
    uint64_t noise_random;
} cartpole;

/* A 1 kg cart, a 0.1 kg pole of 1 m, 10 N, 2 ms of delay, noisy sensors, no pushes. */
cartpole_params cartpole_default_params(void);

/* At rest at the middle of the track, the pole leaning by initial_angle_rad, the delay line empty
 * (0 N). Copies params. Pushes and noise draw from separate streams of the seed, so how often
 * one senses does not change the pushes. Start elsewhere by writing ->state afterwards. */
void cartpole_init(cartpole *plant, const cartpole_params *params, uint64_t seed,
                   double initial_angle_rad);

/* One Runge-Kutta step of dt_s. force_n is the command during this step: it acts after the delay,
 * saturated at the limit. A command that is not finite counts as 0 N. */
void cartpole_step(cartpole *plant, double force_n);

/* A noisy sample: cart_position m, cart_velocity m/s, pole_angle rad, pole_rate rad/s. */
void cartpole_sense(cartpole *plant, float out[4]);

/* Whether the pole stands (|angle| < 0.5 rad) and the cart is on its track (|x| < 2.4 m). */
bool cartpole_upright(const cartpole *plant);

#ifdef __cplusplus
}
#endif

#endif /* RTLOOP_HOST_CARTPOLE_H_ */
