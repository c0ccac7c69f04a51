/* What main_loop.c needs of a board. Write these for yours: some thirty lines over any vendor's
 * HAL. */
#ifndef RTLOOP_EXAMPLE_BOARD_H_
#define RTLOOP_EXAMPLE_BOARD_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A 64-bit µs timer, from any context. */
uint64_t board_now_us(void);

/* Sleeps until board_wake(), however long before, or the time; UINT64_MAX: only that. */
void board_sleep_until(uint64_t us);

/* Ends the sleep, or the next one. From interrupts. */
void board_wake(void);

/*
 * What the UART received since the last call, at most `size` bytes, and when the last of it came
 * in, as its interrupt or DMA noted. Its interrupt calls board_wake().
 */
size_t board_uart_read(uint8_t *bytes, size_t size, uint64_t *arrived_us);

/* Hands a frame to the transmit DMA, or does nothing and returns false while it has no room. */
bool board_uart_write(const uint8_t *bytes, size_t n);

/* The newest position, in rad, and when the encoder latched it. */
float board_encoder_rad(uint64_t *latched_us);

/* 0 is no torque. Reentrant: one write to the timer's compare register. */
void board_motor_torque(float newton_metre);
void board_motor_power(bool is_on);
bool board_emergency_stop_is_pressed(void);

/* Self-test: encoder alive, supply in range. */
bool board_is_well(void);
uint32_t board_random(void);
void board_feed_watchdog(void);

#endif
