/*
 * The loop: one thread above all others, the cooperative ones among them, that owns the rtl_device.
 * Released by a timer at every multiple of the period and by each frame that arrives, it moves
 * bytes between queues in memory and the machine, and waits for nothing else.
 */
#ifndef APP_LOOP_H_
#define APP_LOOP_H_

#include <stdbool.h>
#include <stdint.h>

#include "rtloop/device.h"

#define LOOP_PERIOD_US (1000000u / CONFIG_APP_RATE_HZ)

/* What the loop tells of itself, after every pass. */
typedef struct loop_snapshot {
    rtl_device_status link;
    rtl_stats own; /* since ARM */
    uint32_t tx_dropped;
} loop_snapshot;

/* Begins with the plant safe; speaks when a host does. Feeds this channel of task_wdt. */
void loop_start(int watchdog);

/* Something came for the loop; from any context. */
void loop_wake(void);

/* From threads. Waits for nothing: what the loop published last. */
void loop_read(loop_snapshot *out);

/* The machine's own stop, latched; from any context. */
void loop_trip(void);

/* What CLEAR does, asked for at the board; the loop does it at its next pass. */
void loop_clear(void);

#endif
