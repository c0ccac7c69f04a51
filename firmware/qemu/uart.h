/*
 * A UART by interrupts, with a queue each way. The thread reads and writes, the interrupts of the
 * UART move bytes; nothing waits.
 */
#ifndef RTLOOP_QEMU_UART_H_
#define RTLOOP_QEMU_UART_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct uart uart;

extern uart *const uart_link;    /* UART 0 */
extern uart *const uart_console; /* UART 1 */

/*
 * `on_byte`, where there is one, gets each byte in the interrupt, and the queue none: what must not
 * wait for the thread.
 */
void uart_start(uart *self, void (*on_byte)(uint8_t byte));

/* At most `size` bytes that came since; when the last byte came in goes to `arrived_us`. */
size_t uart_read(uart *self, uint8_t *bytes, size_t size, uint64_t *arrived_us);

/* Takes all, or nothing and returns false. */
bool uart_write(uart *self, const uint8_t *bytes, size_t n);

/* Bytes that came while the queue was full. */
uint32_t uart_dropped(const uart *self);

#endif /* RTLOOP_QEMU_UART_H_ */
