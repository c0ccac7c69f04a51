#include "cartpole_device.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* A stop longer than this (SIGSTOP, a suspended laptop) is dropped instead of simulated in a rush
 * during which the device would be deaf; ordinary scheduling hiccups are far shorter. */
#define CATCH_UP_MAX_NS 100000000

/* The actuator saturates; twice that is no command that a sane host sends. */
#define HARD_LIMIT_FACTOR 2.0

#define PLANT_SENSORS 4u

static int64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- rtl_hardware -------------------------------------------------------------------------- */

static uint64_t now_us(void *context) {
    const cartpole_device *const machine = context;
    return (uint64_t)(monotonic_ns() - machine->clock_origin_ns) / 1000u;
}

static uint64_t sample(void *context, float *values) {
    cartpole_device *const machine = context;
    cartpole_device_advance(machine);
    cartpole_sense(&machine->plant, values);
    machine->samples++;
    for (uint32_t i = PLANT_SENSORS; i < machine->n_sensor; ++i) {
        values[i] = (float)(machine->samples % 65536u);
    }
    return now_us(machine);
}

static void apply(void *context, const float *values) {
    cartpole_device *const machine = context;
    cartpole_device_advance(machine); /* the old force acted until now */
    if (machine->device.state != RTL_STATE_ACTIVE) {
        return; /* it reached the end of the track with it */
    }
    machine->force_n = (double)values[0];
}

static void safe(void *context) {
    cartpole_device *const machine = context;
    machine->force_n = 0.0;
}

static bool transmit(void *context, const uint8_t *bytes, size_t n) {
    cartpole_device *const machine = context;
    return pty_write_frame(&machine->line, bytes, n);
}

/* As long as the button is pressed, nobody lets the machine move. */
static uint16_t veto(void *context, rtl_type request) {
    (void)request;
    const cartpole_device *const machine = context;
    return machine->emergency_stop ? RTL_REASON_HARDWARE : 0;
}

static void state_changed(void *context, rtl_state state, uint16_t reasons) {
    (void)reasons;
    cartpole_device *const machine = context;
    if (state == RTL_STATE_ACTIVE && !machine->is_released) {
        machine->is_released = true;
        machine->plant_ns = monotonic_ns();
    }
}

void cartpole_device_press(cartpole_device *machine) {
    machine->emergency_stop = !machine->emergency_stop;
    if (machine->emergency_stop) {
        rtl_device_trip_from_isr(&machine->device, RTL_REASON_HARDWARE);
    }
}

/* ---- plant --------------------------------------------------------------------------------- */

static void judge(cartpole_device *machine) {
    const rtl_device *const device = &machine->device;
    const bool in_trouble =
        device->state == RTL_STATE_SAFE && (device->reasons & ~(unsigned)RTL_REASON_HOST_STOP) != 0;
    if (device->state != RTL_STATE_ACTIVE && !in_trouble) {
        return;
    }
    const double dt_s = machine->plant.params.dt_s;
    const double angle_rad = fabs(machine->plant.state.pole_angle_rad);
    machine->judged_s += dt_s;
    machine->fell = machine->fell || !cartpole_upright(&machine->plant);
    if (!machine->fell) {
        machine->upright_s += dt_s;
    }
    if (angle_rad > machine->max_angle_rad) {
        machine->max_angle_rad = angle_rad;
    }
}

static void stop_at_track_end(cartpole_device *machine) {
    cartpole_state *const state = &machine->plant.state;
    if (fabs(state->cart_position_m) <= CARTPOLE_TRACK_HALF_LENGTH_M) {
        return;
    }
    state->cart_position_m = copysign(CARTPOLE_TRACK_HALF_LENGTH_M, state->cart_position_m);
    state->cart_velocity_m_s = 0.0;
    rtl_device_trip(&machine->device, RTL_REASON_LIMIT);
}

void cartpole_device_advance(cartpole_device *machine) {
    if (!machine->is_released) {
        return;
    }
    const int64_t step_ns = (int64_t)(machine->plant.params.dt_s * 1e9 + 0.5);
    int64_t due_ns = monotonic_ns() - machine->plant_ns;
    if (due_ns > CATCH_UP_MAX_NS) {
        const int64_t dropped_ns = due_ns - CATCH_UP_MAX_NS;
        machine->dropped_ns += dropped_ns;
        machine->plant_ns += dropped_ns;
        due_ns = CATCH_UP_MAX_NS;
    }
    for (; due_ns >= step_ns; due_ns -= step_ns) {
        machine->plant_ns += step_ns;
        cartpole_step(&machine->plant, machine->force_n);
        judge(machine);
        stop_at_track_end(machine);
    }
}

/* ---- start --------------------------------------------------------------------------------- */

static void write_schema(cartpole_device *machine, unsigned rate_hz) {
    char *const text = machine->schema;
    const size_t room = sizeof machine->schema;
    int n = snprintf(text, room,
                     "rtloop-schema 1\n"
                     "name cartpole\n"
                     "sensor cart_position m f32 %u\n"
                     "sensor cart_velocity m/s f32 %u\n"
                     "sensor pole_angle rad f32 %u\n"
                     "sensor pole_rate rad/s f32 %u\n",
                     rate_hz, rate_hz, rate_hz, rate_hz);
    for (unsigned i = PLANT_SENSORS; i < machine->n_sensor; ++i) {
        n += snprintf(text + n, room - (size_t)n, "sensor count_%u - f32 %u\n", i, rate_hz);
    }
    snprintf(text + n, room - (size_t)n, "command force N f32 %u\n", rate_hz);
}

static void init_plant(cartpole_device *machine, const options *chosen) {
    cartpole_params params = cartpole_default_params();
    params.noise = chosen->noise;
    params.push_newton = chosen->push_newton;
    params.push_interval_s = chosen->push_interval_s;
    cartpole_init(&machine->plant, &params, chosen->seed, chosen->angle_rad);
    machine->force_max_n = (float)(HARD_LIMIT_FACTOR * params.force_limit_n);
    machine->force_min_n = -machine->force_max_n;
}

bool cartpole_device_open(cartpole_device *machine, const options *chosen, char *error,
                          size_t error_size) {
    memset(machine, 0, sizeof *machine);
    if (!pty_open(&machine->line, chosen->pty_path, error, error_size)) {
        return false;
    }
    machine->clock_origin_ns = monotonic_ns() - (int64_t)chosen->clock_start_us * 1000;
    init_plant(machine, chosen);
    machine->n_sensor = chosen->n_sensor;
    write_schema(machine, chosen->rate_hz);
    const rtl_hardware hardware = {
        .context = machine,
        .now_us = now_us,
        .sample = sample,
        .apply = apply,
        .safe = safe,
        .transmit = transmit,
        .veto = veto,
        .state_changed = state_changed,
        .command_min = &machine->force_min_n,
        .command_max = &machine->force_max_n,
    };
    const uint32_t timeout_us = chosen->command_timeout_ms * 1000u;
    const rtl_description description = {
        .name = "cartpole",
        .schema = machine->schema,
        .n_sensor = (uint8_t)chosen->n_sensor,
        .n_command = 1,
        .max_link_errors = 10,
        .sensor_period_us = 1000000u / chosen->rate_hz,
        .command_timeout_us = timeout_us,
        .command_timeout_max_us = timeout_us > 1000000u ? timeout_us : 1000000u,
        .boot_id = chosen->boot_id,
    };
    if (!rtl_device_init(&machine->device, &hardware, &description)) {
        snprintf(error, error_size, "the device refused its own description");
        pty_close(&machine->line);
        return false;
    }
    rtl_device_ready(&machine->device);
    return true;
}

/* ---- summary ------------------------------------------------------------------------------- */

static const char *const state_names[] = {"INIT", "IDLE", "ARMED", "ACTIVE", "SAFE"};
static const char *const reason_names[] = {"COMMAND_TIMEOUT", "DEADLINE_MISSES", "LINK_ERRORS",
                                           "NON_FINITE",      "LIMIT",           "HOST_STOP",
                                           "HARDWARE"};

static void print_reasons(uint16_t reasons, FILE *stream) {
    const char *comma = "";
    for (unsigned bit = 0; bit < sizeof reason_names / sizeof reason_names[0]; ++bit) {
        if ((reasons & 1u << bit) != 0) {
            fprintf(stream, "%s\"%s\"", comma, reason_names[bit]);
            comma = ", ";
        }
    }
}

void cartpole_device_print_summary(const cartpole_device *machine, FILE *stream) {
    const rtl_device *const d = &machine->device;
    fprintf(stream, "{\"state\": \"%s\", \"reasons\": [", state_names[d->state]);
    print_reasons(d->reasons, stream);
    fprintf(stream,
            "], \"counters\": {\"rx_packets\": %u, \"tx_packets\": %u, \"tx_dropped\": %u, "
            "\"crc_errors\": %u, \"frame_errors\": %u, \"seq_gaps\": %u, \"late_commands\": %u, "
            "\"rejected_commands\": %u, \"command_timeouts\": %u}",
            (unsigned)d->rx_packets, (unsigned)d->tx_packets, (unsigned)d->tx_dropped,
            (unsigned)d->crc_errors, (unsigned)d->frame_errors, (unsigned)d->seq_gaps,
            (unsigned)d->late_commands, (unsigned)d->rejected_commands,
            (unsigned)d->command_timeouts);
    fprintf(stream,
            ", \"upright_s\": %.4f, \"max_angle_rad\": %.6f, \"fell\": %s, \"elapsed_s\": %.4f, "
            "\"dropped_s\": %.4f, \"clock_origin_ns\": %lld}\n",
            machine->upright_s, machine->max_angle_rad, machine->fell ? "true" : "false",
            machine->judged_s, (double)machine->dropped_ns / 1e9,
            (long long)machine->clock_origin_ns);
    fflush(stream);
}
