/* The example of a board, on a board that is not there: its main loop, unchanged, in virtual time.
 */
#include <stdlib.h>

#include "board.h"
#include "check.h"
#include "rtloop/device.h"

int joint_main(void); /* main() of main_loop.c */
void emergency_stop_isr(void);

#define RUN_US 1000000u
#define PRESSED_US 500000u

static uint64_t virtual_us, feeds;
static unsigned sleeps, samples, safe_samples;
static bool is_awake, is_pressed, is_powered, has_asked;
static float torque = -1.0f;
static rtl_frame_decoder decoder;

uint64_t board_now_us(void) {
    return virtual_us;
}

static void end(void) {
    check_subject = "a second of the example";
    CHECK_EQUAL(samples, 1000);
    CHECK_EQUAL(safe_samples, 501); /* that of the stop is one of them */
    CHECK(sleeps <= samples + 20);  /* it wakes up when something is due, and sleeps else */
    CHECK(feeds >= sleeps);
    CHECK(torque == 0.0f && !is_powered);
    exit(check_verdict());
}

/* The button's interrupt comes amid a sleep. */
void board_sleep_until(uint64_t us) {
    ++sleeps;
    if (virtual_us < PRESSED_US && us >= PRESSED_US) {
        virtual_us = PRESSED_US;
        is_pressed = true;
        emergency_stop_isr();
    }
    if (is_awake) {
        is_awake = false;
        return;
    }
    virtual_us = us > virtual_us ? us : virtual_us;
    if (virtual_us > RUN_US) {
        end();
    }
}

void board_wake(void) {
    is_awake = true;
}

/* A host says HELLO, once. */
size_t board_uart_read(uint8_t *bytes, size_t size, uint64_t *arrived_us) {
    if (has_asked || size < RTL_PACKET_MIN) {
        return 0;
    }
    has_asked = true;
    *arrived_us = virtual_us;
    const rtl_header header = {.type = RTL_TYPE_HELLO};
    const rtl_hello hello = {1, 1};
    uint8_t payload[RTL_PAYLOAD_MAX];
    uint8_t packet[RTL_PACKET_MAX];
    return rtl_frame_encode(
        packet, rtl_packet_encode(&header, payload, rtl_hello_encode(&hello, payload), packet),
        bytes);
}

bool board_uart_write(const uint8_t *bytes, size_t n) {
    const uint8_t *packet;
    const uint8_t *payload;
    size_t size;
    rtl_header header;
    rtl_sensor sensor;
    rtl_frame_decoder_feed(&decoder, bytes, n, &packet, &size);
    if (rtl_packet_decode(packet, size, &header, &payload, &size) == RTL_OK &&
        header.type == RTL_TYPE_SENSOR && rtl_sensor_decode(payload, size, &sensor)) {
        ++samples;
        safe_samples += sensor.state == RTL_STATE_SAFE && sensor.reasons == RTL_REASON_HARDWARE;
    }
    return true;
}

float board_encoder_rad(uint64_t *latched_us) {
    *latched_us = virtual_us;
    return 0.5f;
}

void board_motor_torque(float newton_metre) {
    torque = newton_metre;
}

void board_motor_power(bool is_on) {
    is_powered = is_on;
}

bool board_emergency_stop_is_pressed(void) {
    return is_pressed;
}

bool board_is_well(void) {
    return feeds > 3; /* its self-test takes a while */
}

uint32_t board_random(void) {
    return 4;
}

void board_feed_watchdog(void) {
    ++feeds;
}

int main(void) {
    rtl_frame_decoder_init(&decoder);
    return joint_main();
}
