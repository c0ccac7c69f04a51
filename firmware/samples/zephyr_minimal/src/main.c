/* An own application around firmware/lib: a value that follows its command, on a polled UART. */
#include <zephyr/drivers/uart.h>
#include <zephyr/kernel.h>
#include "rtloop/device.h"

#define SCHEMA "rtloop-schema 1\nname least\nsensor value - f32 100\ncommand value - f32 100\n"
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
    while (n-- > 0) uart_poll_out(uart, *bytes++); /* waits: firmware/app shows how not to */
    return true;
}

int main(void) {
    const rtl_hardware machine = {NULL, now_us, sample, apply, safe, transmit};
    /* Sensors, commands, link errors (any number); µs: a sample, without a command, at most. */
    const rtl_description me = {"least", SCHEMA, 1, 1, 0, 10000, 100000, 500000, k_cycle_get_32()};
    if (!rtl_device_init(&device, &machine, &me)) return 1;
    for (rtl_device_ready(&device);; k_msleep(1)) {
        uint8_t byte;
        while (uart_poll_in(uart, &byte) == 0) rtl_device_receive(&device, &byte, 1, now_us(NULL));
        rtl_device_tick(&device);
    }
}
