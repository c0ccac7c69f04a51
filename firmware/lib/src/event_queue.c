#include "rtloop/event_queue.h"

#include <string.h>

void rtl_event_queue_init(rtl_event_queue *queue, uint64_t now_us) {
    memset(queue, 0, sizeof *queue);
    queue->credit = RTL_EVENT_BURST;
    queue->credit_us = now_us;
}

rtl_event *rtl_event_queue_add(rtl_event_queue *queue, rtl_event_kind kind) {
    queue->total[kind]++;
    queue->waiting[kind] = (rtl_event){.event = (uint8_t)kind, .total = queue->total[kind]};
    return &queue->waiting[kind];
}

static void grow_credit(rtl_event_queue *queue, uint64_t now_us) {
    const uint64_t intervals = (now_us - queue->credit_us) / RTL_EVENT_INTERVAL_US;
    const uint64_t credit = queue->credit + intervals;
    queue->credit_us += intervals * RTL_EVENT_INTERVAL_US;
    queue->credit = (uint8_t)(credit < RTL_EVENT_BURST ? credit : RTL_EVENT_BURST);
}

const rtl_event *rtl_event_queue_next(rtl_event_queue *queue, uint64_t now_us) {
    grow_credit(queue, now_us);
    if (queue->credit == 0) {
        return NULL;
    }
    if (queue->waiting[RTL_EVENT_STATE_CHANGE].event != 0) {
        return &queue->waiting[RTL_EVENT_STATE_CHANGE];
    }
    for (unsigned i = 0; i < RTL_EVENT_KINDS - 1; ++i) {
        const unsigned kind = 1 + (queue->turn + i) % (RTL_EVENT_KINDS - 1);
        if (queue->waiting[kind].event != 0) {
            return &queue->waiting[kind];
        }
    }
    return NULL;
}

uint64_t rtl_event_queue_due_us(const rtl_event_queue *queue) {
    for (unsigned kind = 1; kind < RTL_EVENT_KINDS; ++kind) {
        if (queue->waiting[kind].event != 0) {
            return queue->credit_us + (queue->credit > 0 ? 0 : RTL_EVENT_INTERVAL_US);
        }
    }
    return UINT64_MAX;
}

void rtl_event_queue_sent(rtl_event_queue *queue, const rtl_event *event) {
    queue->credit--;
    if (event->event != RTL_EVENT_STATE_CHANGE) {
        queue->turn = event->event;
    }
    queue->waiting[event->event].event = 0;
}
