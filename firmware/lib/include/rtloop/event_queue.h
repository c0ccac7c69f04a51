/*
 * What a device has to report, at a rate that cannot crowd out its samples.
 *
 * Of each kind of event only the newest waits. Events leave at most RTL_EVENT_BURST at once and one
 * every RTL_EVENT_INTERVAL_US after that; `total` tells the host how many it was not shown. A
 * change of state goes first, the other kinds take turns.
 */
#ifndef RTLOOP_EVENT_QUEUE_H
#define RTLOOP_EVENT_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "rtloop/messages.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RTL_EVENT_INTERVAL_US 10000u
#define RTL_EVENT_BURST 4u
#define RTL_EVENT_KINDS 6u /* rtl_event_kind is the index; 0 is not used */

typedef struct rtl_event_queue {
    rtl_event waiting[RTL_EVENT_KINDS]; /* event == 0: none */
    uint32_t total[RTL_EVENT_KINDS];
    uint64_t credit_us; /* up to when credit was given */
    uint8_t credit;     /* events that may leave now */
    uint8_t turn;       /* the kind that was sent last */
} rtl_event_queue;

void rtl_event_queue_init(rtl_event_queue *queue, uint64_t now_us);

/* Counts an event and lets it wait in place of an older one; the caller fills in the details. */
rtl_event *rtl_event_queue_add(rtl_event_queue *queue, rtl_event_kind kind);

/* The event that may be sent now, or NULL. It goes on waiting until rtl_event_queue_sent(). */
const rtl_event *rtl_event_queue_next(rtl_event_queue *queue, uint64_t now_us);

/* When there is an event that may be sent, at once when it is past; UINT64_MAX: none waits. */
uint64_t rtl_event_queue_due_us(const rtl_event_queue *queue);

void rtl_event_queue_sent(rtl_event_queue *queue, const rtl_event *event);

#ifdef __cplusplus
}
#endif

#endif
