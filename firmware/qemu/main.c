/*
 * The firmware of an emulated MPS2 board (AN386, Cortex-M4F): the portable library, a UART by
 * interrupts, and a simulated cart-pole where a board has its machine. Arguments are those of
 * options.h. On the console it says READY and why it started, and hears letters: on_letter().
 */
#include <stdio.h>

#include "clock.h"
#include "driven_cartpole.h"
#include "options.h"
#include "start.h"
#include "summary.h"
#include "uart.h"

/* In software double a step takes 30 µs of an emulator's time: ten times as many, as host/ takes
 * them, would be a third of it. */
#define PLANT_STEP_US 1000u

/* Beyond any pause of an emulator on a busy machine; a board of its own would take milliseconds. */
#define WATCHDOG_US 3000000u

/* Longer pauses of the emulator are dropped, not simulated in a rush; see host/machine.h. */
#define CATCH_UP_US (100u * PLANT_STEP_US)

static rtl_device device;
static rtl_device_account account;
static driven_cartpole cart;
static char schema[256];
static volatile bool emergency_stop;

/* ---- rtl_hardware -------------------------------------------------------------------------- */

static uint64_t now_us(void *context) {
    (void)context;
    return clock_now_us();
}

static void advance(void) {
    driven_cartpole_advance(&cart, clock_now_us(), CATCH_UP_US);
}

static uint64_t sample(void *context, float *values) {
    (void)context;
    advance();
    cartpole_sense(&cart.plant, values);
    return clock_now_us();
}

static void apply(void *context, const float *values) {
    (void)context;
    advance(); /* the old force acted until now */
    if (device.state == RTL_STATE_ACTIVE) {
        cart.force_n = (double)values[0];
    }
}

static void safe(void *context) {
    (void)context;
    cart.force_n = 0.0;
}

/* What the machine was left with, for say_ready() after the reset. */
static double force_after_fault __attribute__((section(".noinit")));

void at_fault(uint32_t pc) {
    (void)pc;
    safe(NULL);
    force_after_fault = cart.force_n;
}

static bool transmit(void *context, const uint8_t *bytes, size_t n) {
    (void)context;
    return uart_write(uart_link, bytes, n);
}

static uint16_t veto(void *context, rtl_type request) {
    (void)context, (void)request;
    return emergency_stop ? RTL_REASON_HARDWARE : 0;
}

static void state_changed(void *context, rtl_state state, uint16_t reasons) {
    (void)context, (void)reasons;
    if (state == RTL_STATE_ACTIVE) {
        driven_cartpole_release(&cart, clock_now_us());
    }
}

/* ---- console ------------------------------------------------------------------------------- */

static volatile bool is_summary_wanted, is_to_hang;

/*
 * Letters, in the interrupt: `s` asks for the summary, `e` presses the emergency stop and the next
 * time releases it, `f` executes what the core does not know, `h` hangs the main loop.
 */
static void on_letter(uint8_t letter) {
    if (letter == 's') {
        is_summary_wanted = true;
    } else if (letter == 'e') {
        emergency_stop = !emergency_stop;
        if (emergency_stop) {
            rtl_device_trip_from_isr(&device, RTL_REASON_HARDWARE);
        }
    } else if (letter == 'f') {
        __asm volatile("udf #0");
    } else if (letter == 'h') {
        is_to_hang = true;
    }
}

static void say_summary(void) {
    const uint32_t stack_bytes = stack_used(); /* before printing, which takes the most */
    char text[1024];
    FILE *const stream = fmemopen(text, sizeof text, "w");
    if (stream == NULL) {
        return;
    }
    fputc('{', stream);
    summary_print(&device, stream);
    fprintf(stream,
            ", \"upright_s\": %.4f, \"max_angle_rad\": %.6f, \"fell\": %s, \"elapsed_s\": %.4f, "
            "\"dropped_s\": %.4f, \"resets\": %u, \"uart_dropped\": %u, \"stack_bytes\": %u}\n",
            driven_cartpole_upright_s(&cart), cart.max_angle_rad, cart.fell ? "true" : "false",
            driven_cartpole_judged_s(&cart), (double)cart.dropped_us / 1e6,
            (unsigned)last_reset.count, (unsigned)uart_dropped(uart_link), (unsigned)stack_bytes);
    const long size = ftell(stream);
    fclose(stream);
    uart_write(uart_console, (const uint8_t *)text, (size_t)size);
}

static bool is_after_fault(void) {
    return last_reset.cause == RESET_FAULT || last_reset.cause == RESET_WATCHDOG;
}

static void say_ready(void) {
    static const char *const causes[] = {"power-on", "reset", "fault", "watchdog"};
    char text[96];
    int size = snprintf(text, sizeof text, "READY %s", causes[last_reset.cause]);
    if (is_after_fault()) {
        size += snprintf(text + size, sizeof text - (size_t)size, " pc=0x%08x force_n=%g",
                         (unsigned)last_reset.fault_pc, force_after_fault);
    }
    text[size++] = '\n';
    uart_write(uart_console, (const uint8_t *)text, (size_t)size);
}

/* ---- start --------------------------------------------------------------------------------- */

static void init_plant(const options *chosen) {
    cartpole_params params = cartpole_default_params();
    params.dt_s = PLANT_STEP_US * 1e-6;
    params.noise = chosen->noise;
    params.push_newton = chosen->push_newton;
    params.push_interval_s = chosen->push_interval_s;
    driven_cartpole_init(&cart, &device, &params, chosen->seed, chosen->angle_rad);
    driven_cartpole_write_schema(schema, sizeof schema, chosen->rate_hz, 0);
}

static bool init_device(const options *chosen) {
    const uint32_t period_us = 1000000u / chosen->rate_hz;
    account.loop.terms = (rtl_loop_terms){
        .loop_class = chosen->loop_class,
        .max_misses = chosen->loop_max_misses,
        .window = chosen->loop_window,
        .period_us = period_us,
        .deadline_us = chosen->loop_deadline_us > 0 ? chosen->loop_deadline_us : period_us,
    };
    const rtl_hardware hardware = {
        .now_us = now_us,
        .sample = sample,
        .apply = apply,
        .safe = safe,
        .transmit = transmit,
        .veto = veto,
        .state_changed = state_changed,
        .command_min = &cart.force_min_n,
        .command_max = &cart.force_max_n,
    };
    const uint32_t timeout_us = chosen->command_timeout_ms * 1000u;
    const rtl_description description = {
        .name = "cartpole",
        .schema = schema,
        .n_sensor = CARTPOLE_SENSORS,
        .n_command = 1,
        .max_link_errors = 10,
        .sensor_period_us = period_us,
        .command_timeout_us = timeout_us,
        .command_timeout_max_us = timeout_us > 1000000u ? timeout_us : 1000000u,
        /* The argument outlives a reset, as everything around this program does. */
        .boot_id = chosen->boot_id + last_reset.count * 0x9E3779B9u,
        .account = &account,
    };
    if (!rtl_device_init(&device, &hardware, &description)) {
        return false;
    }
    rtl_device_ready(&device);
    if (is_after_fault()) {
        rtl_device_trip(&device, RTL_REASON_HARDWARE); /* latched: somebody has to look at it */
    }
    return true;
}

/* ---- main loop ----------------------------------------------------------------------------- */

/* What a firmware that is too slow would do, where that was asked for. */
static void delay_job(const options *chosen) {
    static uint32_t jobs;
    if (device.state != RTL_STATE_ACTIVE || ++jobs % chosen->loop_delay_every != 0) {
        return;
    }
    const uint64_t end_us = clock_now_us() + chosen->loop_delay_us;
    while (clock_now_us() < end_us) {
    }
}

static void pass(const options *chosen) {
    uint8_t bytes[256];
    uint64_t arrived_us;
    size_t n;
    rtl_device_begin_pass(&device);
    const uint64_t sample_us = rtl_device_next_sample_us(&device);
    while ((n = uart_read(uart_link, bytes, sizeof bytes, &arrived_us)) > 0) {
        rtl_device_receive(&device, bytes, n, arrived_us);
    }
    rtl_device_tick(&device);
    if (rtl_device_next_sample_us(&device) != sample_us) {
        delay_job(chosen);
    }
    rtl_device_end_pass(&device);
}

int main(int argc, char **argv) {
    const options chosen = options_read(argc, argv);
    clock_start(chosen.clock_start_us, chosen.clock_drift_ppm);
    uart_start(uart_link, NULL);
    init_plant(&chosen);
    if (!init_device(&chosen)) {
        return 1;
    }
    uart_start(uart_console, on_letter);
    uart_write(uart_link, (const uint8_t[]){0}, 1); /* ends a frame that a reset cut off */
    say_ready();
    watchdog_start(WATCHDOG_US);
    for (;;) {
        pass(&chosen);
        watchdog_feed();
        while (is_to_hang) {
        }
        if (is_summary_wanted) {
            is_summary_wanted = false;
            say_summary();
        }
        clock_sleep_until(rtl_device_next_due_us(&device));
    }
}
