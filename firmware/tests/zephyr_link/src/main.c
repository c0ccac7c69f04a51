/* The serial link of firmware/app (src/uart_link.c) on an emulated UART; in place of the loop, who
 * counts how often it is woken. */
#include <string.h>
#include <zephyr/drivers/serial/uart_emul.h>
#include <zephyr/ztest.h>

#include "device_time.h"
#include "loop.h"
#include "uart_link.h"

#define A_WHILE K_MSEC(2)

static const struct device *const uart = DEVICE_DT_GET(DT_CHOSEN(rtloop_link_uart));
static unsigned wakes;

void loop_wake(void) {
    ++wakes;
}

static size_t read_all(uint8_t *bytes, size_t size, uint64_t *arrived_us) {
    size_t n, at = 0;
    while ((n = uart_link_read(bytes + at, size - at, arrived_us)) > 0) {
        at += n;
    }
    return at;
}

static void *start(void) {
    device_time_start();
    zassert_ok(uart_link_start());
    return NULL;
}

static void before(void *fixture) {
    ARG_UNUSED(fixture);
    uint8_t bytes[64];
    uint64_t arrived_us;
    read_all(bytes, sizeof bytes, &arrived_us);
    uart_emul_flush_tx_data(uart);
    wakes = 0;
}

static void receive(const void *bytes, size_t n) {
    zassert_equal(uart_emul_put_rx_data(uart, bytes, n), n);
    k_sleep(A_WHILE);
}

ZTEST(link, test_the_loop_is_woken_by_a_whole_frame_and_not_by_its_bytes) {
    uint8_t bytes[64];
    uint64_t arrived_us;
    for (uint8_t byte = 1; byte < 40; ++byte) {
        receive(&byte, 1);
    }
    zassert_equal(wakes, 0);
    const uint64_t before_us = device_time_us();
    receive((const uint8_t[]){40, 0}, 2);
    zassert_equal(wakes, 1);
    zassert_equal(read_all(bytes, sizeof bytes, &arrived_us), 41);
    zassert_equal(bytes[0], 1);
    zassert_equal(bytes[39], 40);
    zassert_within(arrived_us, before_us, 100);
}

ZTEST(link, test_what_finds_no_room_is_lost_and_the_zero_behind_it_wakes_the_loop) {
    static uint8_t bytes[CONFIG_APP_LINK_UART_QUEUE + 100];
    uint64_t arrived_us;
    memset(bytes, 0x55, sizeof bytes);
    bytes[sizeof bytes - 1] = 0;
    receive(bytes, sizeof bytes);
    zassert_equal(wakes, 1);
    zassert_equal(read_all(bytes, sizeof bytes, &arrived_us), CONFIG_APP_LINK_UART_QUEUE);
}

ZTEST(link, test_frames_leave_in_order_and_one_without_room_not_at_all) {
    static const uint8_t first[] = {2, 1, 0}, second[] = {3, 1, 2, 0};
    static uint8_t too_long[CONFIG_APP_LINK_UART_QUEUE + 1];
    uint8_t sent[64];
    zassert_false(uart_link_write(NULL, too_long, sizeof too_long));
    zassert_true(uart_link_write(NULL, first, sizeof first));
    zassert_true(uart_link_write(NULL, second, sizeof second));
    k_sleep(A_WHILE);
    /* The first byte of all is a lone delimiter. */
    zassert_equal(uart_emul_get_tx_data(uart, sent, sizeof sent), 8);
    zassert_equal(sent[0], 0);
    zassert_mem_equal(sent + 1, first, sizeof first);
    zassert_mem_equal(sent + 4, second, sizeof second);
}

ZTEST_SUITE(link, NULL, start, before, NULL, NULL);
