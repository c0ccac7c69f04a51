/*
 * What a device accounts for while it is armed: its own loop, and how old the sample of a command
 * is when the command is applied, both by its own clock. From ARM until SAFE: it can be asked for
 * afterwards, until the next ARM.
 *
 * A COMMAND says in `ack` which SENSOR was the newest that its host had. The device
 * remembers when the samples of its last SENSORs were taken, so that no clock has to be translated.
 */
#ifndef RTLOOP_DEVICE_ACCOUNT_H
#define RTLOOP_DEVICE_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "rtloop/histogram.h"
#include "rtloop/loop_account.h"

#ifdef __cplusplus
extern "C" {
#endif

/* SENSORs whose time is remembered: a command that answers an older one is untraced. */
#define RTL_SAMPLES_TRACED 64u

/* ARMED or ACTIVE, STATS leave behind a sample, so that none waits for them, and not more often. */
#define RTL_STATS_INTERVAL_US 500000u

typedef struct rtl_sample_trace {
    uint16_t seq[RTL_SAMPLES_TRACED];
    uint32_t time_us[RTL_SAMPLES_TRACED];
    uint8_t n, next;
} rtl_sample_trace;

void rtl_sample_trace_add(rtl_sample_trace *trace, uint16_t seq, uint32_t time_us);

/*
 * When the newest sample was taken that the peer had, which had received packet `ack` and nothing
 * after it; `last_seq` is the newest that was sent. False: it is not remembered, or there is none.
 */
bool rtl_sample_trace_find(const rtl_sample_trace *trace, uint16_t ack, uint16_t last_seq,
                           uint32_t *time_us);

/* Fill in loop.terms, and hand it to the device in its description; the rest is cleared there. */
typedef struct rtl_device_account {
    rtl_loop_account loop;
    rtl_histogram sample_to_actuation; /* of the commands that were applied */
    uint32_t untraced; /* applied, but what sample they answer is not known, or still to come */
    uint64_t began_us, ended_us; /* ARM, and SAFE or UINT64_MAX */

    rtl_sample_trace trace;
    uint64_t pass_release_us, pass_start_us;
    uint64_t next_stats_us; /* not before */
    uint16_t stats_ack;     /* the request that is not answered yet */
    bool stats_are_due;
} rtl_device_account;

#ifdef __cplusplus
}
#endif

#endif
