/*
 * The account of a device's own periodic loop, by the words and rules of the host's.
 *
 * A job has a release r, a start s, a finish f and the deadline d = r + deadline_us. Its release
 * latency is s - r, its response time R = f - r, its lateness L = f - d; a deadline miss is L > 0,
 * judged on response time. Releases lie on a grid of period_us: one that has no job was skipped. A
 * job that missed and a release that was skipped are lost; the limit is on lost jobs: at most
 * max_misses in any `window` consecutive releases, at most max_consecutive in a row.
 *
 *     releases = jobs + skipped, on any machine however loaded
 *
 * Times are µs by the clock of the device, which is that of its samples and commands: one axis for
 * both ends of the wire. A job is numbered by its release, the first is 0.
 *
 * No clock, no allocation, no OS; from one thread. A job that never ends is not told of: the
 * watchdog of the board is for that.
 */
#ifndef RTLOOP_LOOP_ACCOUNT_H
#define RTLOOP_LOOP_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

#include "rtloop/histogram.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RTL_WINDOW_MAX 1024u

typedef struct rtl_loop_terms {
    uint8_t loop_class;       /* rtl_class: what a miss means */
    bool fault_on_limit;      /* firm, soft: a broken limit is as bad as a miss of a hard loop */
    uint16_t max_misses;      /* lost in any window, and less than it; of a hard loop none may be */
    uint16_t window;          /* releases, at most RTL_WINDOW_MAX; 0: no such limit */
    uint16_t max_consecutive; /* lost in a row; 0: no such limit */
    uint32_t period_us;       /* 0: there is no loop to account for */
    uint32_t deadline_us;     /* from the release, 1 .. period_us */
} rtl_loop_terms;

/* Read it; leave the rest to the functions below. */
typedef struct rtl_loop_account {
    rtl_loop_terms terms;
    uint32_t jobs, skipped, misses;
    uint32_t limit_broken;                 /* jobs at which the limit was found broken */
    uint32_t consecutive, max_consecutive; /* jobs lost in a row: the newest ones, and at most */
    int32_t lateness_max_us;               /* of no job yet: INT32_MIN */
    uint32_t worst_job, first_miss_job;    /* of the largest lateness; there is one if misses > 0 */
    uint64_t worst_us, first_miss_us;      /* their deadlines */
    rtl_histogram response, release_latency;

    uint64_t release_us; /* of the newest job */
    uint16_t in_window, next;
    uint32_t lost[RTL_WINDOW_MAX / 32]; /* a bit a release */
} rtl_loop_account;

/* What a job came to. A failure is what a loop of its class must not do: be made safe. */
typedef struct rtl_job_verdict {
    int32_t lateness_us;
    bool is_missed, is_limit_broken, is_failure;
} rtl_job_verdict;

/* Returns false, and changes nothing, when the terms break a rule stated above. */
bool rtl_loop_account_init(rtl_loop_account *account, const rtl_loop_terms *terms);

/* Forgets all jobs. */
void rtl_loop_account_begin(rtl_loop_account *account);

/*
 * The next job, in the order of their releases: the same release, or an earlier one, is of a grid
 * that has begun anew. A start before the release and a finish before the start count as these.
 */
rtl_job_verdict rtl_loop_account_job(rtl_loop_account *account, uint64_t release_us,
                                     uint64_t start_us, uint64_t finish_us);

#ifdef __cplusplus
}
#endif

#endif
