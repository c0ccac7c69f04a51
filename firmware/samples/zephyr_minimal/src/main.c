/* An own application around firmware/lib: a value that follows its command, on a polled UART. */
#include <zephyr/drivers/uart.h>
#include <zephyr/kernel.h>

#include "rtloop/device.h"

static const struct device *const uart = DEVICE_DT_GET(DT_CHOSEN(zephyr_console));
static rtl_device device;
static float value;

static uint64_t now_us(void *context) {
    return k_ticks_to_us_floor64(k_uptime_ticks());
}

static uint64_t sample(void *context, float *values) {
    values[0] = value;
    return now_us(context);
}

static void apply(void *context, const float *values) {
    value = values[0];
}

static void safe(void *context) {
    value = 0.0f;
}

static bool transmit(void *context, const uint8_t *bytes, size_t n) {
    for (size_t i = 0; i < n; ++i) {
        uart_poll_out(uart, bytes[i]); /* waits: firmware/app shows how not to */
    }
    return true;
}

int main(void) {
    const rtl_hardware hardware = {
        .now_us = now_us, .sample = sample, .apply = apply, .safe = safe, .transmit = transmit};
    const rtl_description description = {
        .name = "minimal",
        .schema =
            "rtloop-schema 1\nname minimal\nsensor value - f32 100\ncommand value - f32 100\n",
        .n_sensor = 1,
        .n_command = 1,
        .sensor_period_us = 10000,
        .command_timeout_us = 100000,
        .command_timeout_max_us = 1000000,
        .boot_id = k_cycle_get_32(),
    };
    if (!rtl_device_init(&device, &hardware, &description)) return 1;
    for (rtl_device_ready(&device);; k_msleep(1)) {
        uint8_t byte;
        while (uart_poll_in(uart, &byte) == 0) rtl_device_receive(&device, &byte, 1, now_us(NULL));
        rtl_device_tick(&device);
    }
}
