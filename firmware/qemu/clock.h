/* A 64-bit µs clock, and sleep until a time or an interrupt. */
#ifndef RTLOOP_QEMU_CLOCK_H_
#define RTLOOP_QEMU_CLOCK_H_

#include <stdint.h>

/* From `now_us`, faster than the crystal by `drift_ppm`, as another board's would be. */
void clock_start(uint64_t now_us, int32_t drift_ppm);

/* From any context. */
uint64_t clock_now_us(void);

/* Returns at that time, or earlier after any interrupt that called clock_wake(). */
void clock_sleep_until(uint64_t us);

/* Ends the sleep, or the next one. From interrupts. */
void clock_wake(void);

#endif /* RTLOOP_QEMU_CLOCK_H_ */
