#include "uart_link.h"

#include <string.h>
#include <zephyr/drivers/uart.h>
#include <zephyr/kernel.h>
#include <zephyr/sys/ring_buffer.h>

#include "device_time.h"
#include "loop.h"

#if !DT_HAS_CHOSEN(rtloop_link_uart)
#error "no UART for the link: chosen { rtloop,link-uart = &uart1; }; in an overlay of this board"
#endif

static const struct device *const uart = DEVICE_DT_GET(DT_CHOSEN(rtloop_link_uart));

/* One producer and one consumer each, which these need no lock for. */
RING_BUF_DECLARE(bytes_received, CONFIG_APP_LINK_UART_QUEUE);
RING_BUF_DECLARE(bytes_to_send, CONFIG_APP_LINK_UART_QUEUE);

static struct k_spinlock arrival_lock;
static uint64_t last_arrival_us;

/* The loop is woken for a whole frame, which a zero ends, and not for each byte of it. */
static void note_arrival(bool has_ended) {
    const uint64_t now_us = device_time_us();
    K_SPINLOCK(&arrival_lock) {
        last_arrival_us = now_us;
    }
    if (has_ended) {
        loop_wake();
    }
}

/* The time is read after the bytes: too late a time widens an error, one too early makes it. */
size_t uart_link_read(uint8_t *bytes, size_t size, uint64_t *arrived_us) {
    const uint32_t n = ring_buf_get(&bytes_received, bytes, (uint32_t)size);
    K_SPINLOCK(&arrival_lock) {
        *arrived_us = last_arrival_us;
    }
    return n;
}

#ifdef CONFIG_APP_LINK_UART_POLLED

#define POLL_MS 1

static void poll_line(void *unused_1, void *unused_2, void *unused_3) {
    for (;;) {
        uint8_t byte;
        bool came = false, has_ended = false;
        while (ring_buf_space_get(&bytes_received) > 0 && uart_poll_in(uart, &byte) == 0) {
            ring_buf_put(&bytes_received, &byte, 1);
            came = true;
            has_ended = has_ended || byte == 0;
        }
        if (came) { /* what waits beyond a full queue may end with the zero */
            note_arrival(has_ended || ring_buf_space_get(&bytes_received) == 0);
        }
        while (ring_buf_get(&bytes_to_send, &byte, 1) == 1) {
            uart_poll_out(uart, byte);
        }
        k_msleep(POLL_MS);
    }
}

K_THREAD_DEFINE(uart_link, 1024, poll_line, NULL, NULL, NULL, K_PRIO_PREEMPT(0), 0, SYS_FOREVER_MS);

int uart_link_start(void) {
    if (!device_is_ready(uart)) {
        return -ENODEV;
    }
    k_thread_start(uart_link);
    return 0;
}

static void begin_sending(void) {}

#else

static bool take_received(void) {
    uint8_t bytes[16];
    const int n = uart_fifo_read(uart, bytes, sizeof bytes);
    if (n <= 0) {
        return false;
    }
    ring_buf_put(&bytes_received, bytes, (uint32_t)n); /* without room: a damaged frame */
    note_arrival(memchr(bytes, 0, (size_t)n) != NULL);
    return true;
}

static bool send_waiting(void) {
    uint8_t *bytes;
    const uint32_t n = ring_buf_get_claim(&bytes_to_send, &bytes, CONFIG_APP_LINK_UART_QUEUE);
    const int sent = n > 0 ? uart_fifo_fill(uart, bytes, (int)n) : 0;
    ring_buf_get_finish(&bytes_to_send, sent > 0 ? (uint32_t)sent : 0);
    if (n == 0) {
        uart_irq_tx_disable(uart);
    }
    return sent > 0;
}

/* Until nothing moves: some drivers call a transmitter pending that is only idle. */
static void on_interrupt(const struct device *dev, void *unused) {
    bool has_moved = true;
    while (has_moved && uart_irq_update(dev) && uart_irq_is_pending(dev)) {
        has_moved = uart_irq_rx_ready(dev) && take_received();
        has_moved = (uart_irq_tx_ready(dev) && send_waiting()) || has_moved;
    }
}

/* While the board started. Not every UART interrupts for a byte that waits already, nor then for
 * any behind it: it would be deaf. */
static void take_what_came_before(void) {
    uint8_t byte;
    const unsigned int key = irq_lock();
    while (ring_buf_space_get(&bytes_received) > 0 && uart_poll_in(uart, &byte) == 0) {
        ring_buf_put(&bytes_received, &byte, 1);
        note_arrival(byte == 0);
    }
    irq_unlock(key);
}

int uart_link_start(void) {
    if (!device_is_ready(uart) || uart_irq_callback_set(uart, on_interrupt) != 0) {
        return -ENODEV;
    }
    uart_irq_rx_enable(uart);
    take_what_came_before();
    return 0;
}

/* Some UARTs interrupt only after a first byte was sent; the delimiter of no frame is harmless. */
static void begin_sending(void) {
    static bool has_begun;
    if (!has_begun) {
        uart_poll_out(uart, 0x00);
        has_begun = true;
    }
    uart_irq_tx_enable(uart);
}

#endif

bool uart_link_write(void *context, const uint8_t *bytes, size_t n) {
    if (ring_buf_space_get(&bytes_to_send) < n) {
        return false;
    }
    ring_buf_put(&bytes_to_send, bytes, (uint32_t)n);
    begin_sending();
    return true;
}
