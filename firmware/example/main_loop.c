/* The firmware of one joint: all that a board adds to the library but its drivers (board.h). */
#include "board.h"
#include "rtloop/device.h"

static rtl_device device;
/* Its own loop, in which a deadline that is missed is a failure: 800 µs after each sample's tick.
 */
static rtl_device_account account = {
    .loop.terms = {.loop_class = RTL_CLASS_HARD, .period_us = 1000, .deadline_us = 800}};
static const float torque_min[] = {-4.0f}, torque_max[] = {4.0f};

static uint64_t now_us(void *context) {
    (void)context;
    return board_now_us();
}

static uint64_t sample(void *context, float *values) {
    (void)context;
    uint64_t latched_us;
    values[0] = board_encoder_rad(&latched_us);
    return latched_us;
}

static void apply(void *context, const float *values) {
    (void)context;
    board_motor_torque(values[0]);
}

static void safe(void *context) {
    (void)context;
    board_motor_torque(0.0f);
}

static bool transmit(void *context, const uint8_t *bytes, size_t n) {
    (void)context;
    return board_uart_write(bytes, n);
}

static uint16_t veto(void *context, rtl_type request) {
    (void)context, (void)request;
    return board_emergency_stop_is_pressed() ? RTL_REASON_HARDWARE : 0;
}

static void state_changed(void *context, rtl_state state, uint16_t reasons) {
    (void)context, (void)reasons;
    board_motor_power(state == RTL_STATE_ARMED || state == RTL_STATE_ACTIVE);
}

/* The interrupt of the emergency stop's pin. */
void emergency_stop_isr(void) {
    rtl_device_trip_from_isr(&device, RTL_REASON_HARDWARE);
    board_wake();
}

int main(void) {
    const rtl_hardware hardware = {
        .now_us = now_us,
        .sample = sample,
        .apply = apply,
        .safe = safe,
        .transmit = transmit,
        .veto = veto,
        .state_changed = state_changed,
        .command_min = torque_min,
        .command_max = torque_max,
    };
    const rtl_description description = {
        .name = "joint",
        .schema =
            "rtloop-schema 1\nname joint\n"
            "sensor position rad f32 1000\ncommand torque Nm f32 1000\n",
        .n_sensor = 1,
        .n_command = 1,
        .max_link_errors = 10,
        .sensor_period_us = 1000,
        .command_timeout_us = 20000,
        .command_timeout_max_us = 100000,
        .boot_id = board_random(),
        .account = &account,
    };
    if (!rtl_device_init(&device, &hardware, &description)) {
        return 1;
    }
    while (!board_is_well()) {
        board_feed_watchdog();
    }
    rtl_device_ready(&device);
    for (;;) {
        uint8_t bytes[256];
        uint64_t arrived_us;
        size_t n;
        rtl_device_begin_pass(&device);
        while ((n = board_uart_read(bytes, sizeof bytes, &arrived_us)) > 0) {
            rtl_device_receive(&device, bytes, n, arrived_us);
        }
        rtl_device_tick(&device);
        rtl_device_end_pass(&device);
        board_feed_watchdog();
        board_sleep_until(rtl_device_next_due_us(&device));
    }
}
