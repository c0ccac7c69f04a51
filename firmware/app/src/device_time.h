/*
 * Device time: µs since the kernel's first tick. What a timer releases at a multiple of the period
 * is released at one in device time, too, which is the grid of samples and jobs.
 */
#ifndef APP_DEVICE_TIME_H_
#define APP_DEVICE_TIME_H_

#include <stdint.h>

/* First of all, from a thread. */
void device_time_start(void);

/* From any context. */
uint64_t device_time_us(void);

#endif
