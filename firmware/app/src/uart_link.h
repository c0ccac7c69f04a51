/*
 * The serial link: bytes between the UART's interrupt and the loop, through two ring buffers. The
 * loop never touches a FIFO and never waits for the line.
 */
#ifndef APP_UART_LINK_H_
#define APP_UART_LINK_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Returns 0, or -ENODEV where the UART is not ready. */
int uart_link_start(void);

/* From the loop: what came, at most `size` bytes, and when the last of it did. */
size_t uart_link_read(uint8_t *bytes, size_t size, uint64_t *arrived_us);

/* From the loop: rtl_hardware.transmit. All of a frame, or false. */
bool uart_link_write(void *context, const uint8_t *bytes, size_t n);

#endif
