/*
 * The numbers of what one side receives: what did not arrive, what was overtaken, what came twice.
 *
 * A sender numbers all it sends, and its numbers and its times go up together. So an older number
 * with an older time was overtaken, or is a copy; an older number with a newer time, or with one of
 * long ago, is a sender that counts anew. What is missing counts as lost until it arrives.
 *
 * Exact while nothing is overtaken by more than RTL_SEQUENCE_WINDOW numbers; beyond that it stays
 * lost. All functions are pure but for the struct: no allocation, any thread.
 */
#ifndef RTLOOP_SEQUENCE_H
#define RTLOOP_SEQUENCE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RTL_SEQUENCE_WINDOW 64u
/* No network delivers a packet that late. */
#define RTL_SEQUENCE_LATE_MAX_US 1000000

typedef enum rtl_arrival {
    RTL_ARRIVAL_NEWEST, /* newer than all before */
    RTL_ARRIVAL_LATE,   /* overtaken, and here for the first time */
    RTL_ARRIVAL_COPY,   /* received already */
    RTL_ARRIVAL_OLD     /* of before this count, or too long ago to say */
} rtl_arrival;

typedef struct rtl_sequence {
    bool is_known;      /* a count has begun */
    uint16_t newest;    /* number */
    uint32_t newest_us; /* and sender time */
    uint8_t span;       /* numbers before the newest that are of this count */
    uint64_t missing;   /* bit i: newest - 1 - i has not arrived */
    uint32_t lost, reordered, repeated;
} rtl_sequence;

/* A new count begins with this packet; the totals go on. */
void rtl_sequence_begin(rtl_sequence *sequence, uint16_t seq, uint32_t time_us);

/* Takes a packet that is intact, and says what it is. */
rtl_arrival rtl_sequence_take(rtl_sequence *sequence, uint16_t seq, uint32_t time_us);

#ifdef __cplusplus
}
#endif

#endif
