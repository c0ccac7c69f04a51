#include "rtloop/loop_account.h"

#include <string.h>

#include "rtloop/messages.h"

static bool is_valid(const rtl_loop_terms *terms) {
    if (terms->loop_class > RTL_CLASS_SOFT || terms->window > RTL_WINDOW_MAX) {
        return false;
    }
    if (terms->window > 0 && terms->max_misses >= terms->window) {
        return false;
    }
    return terms->period_us == 0 ||
           (0 < terms->deadline_us && terms->deadline_us <= terms->period_us &&
            terms->period_us <= INT32_MAX);
}

bool rtl_loop_account_init(rtl_loop_account *account, const rtl_loop_terms *terms) {
    if (!is_valid(terms)) {
        return false;
    }
    account->terms = *terms;
    rtl_loop_account_begin(account);
    return true;
}

void rtl_loop_account_begin(rtl_loop_account *account) {
    const rtl_loop_terms terms = account->terms;
    memset(account, 0, sizeof *account);
    account->terms = terms;
    account->lateness_max_us = INT32_MIN;
}

/* ---- lost jobs ----------------------------------------------------------------------------- */

/* Into the window, in place of the oldest release. */
static void push(rtl_loop_account *a, bool is_lost) {
    if (a->terms.window == 0) {
        return;
    }
    uint32_t *const word = &a->lost[a->next / 32u];
    const uint32_t bit = UINT32_C(1) << a->next % 32u;
    a->in_window = (uint16_t)(a->in_window + is_lost - ((*word & bit) != 0));
    *word = is_lost ? *word | bit : *word & ~bit;
    a->next = (uint16_t)(a->next + 1u == a->terms.window ? 0u : a->next + 1u);
}

/* Returns whether the limit is broken by these. */
static bool lose(rtl_loop_account *a, uint32_t n) {
    const rtl_loop_terms *const terms = &a->terms;
    if (n == 0) {
        return false;
    }
    a->consecutive = n > UINT32_MAX - a->consecutive ? UINT32_MAX : a->consecutive + n;
    if (a->consecutive > a->max_consecutive) {
        a->max_consecutive = a->consecutive;
    }
    for (uint32_t i = 0; i < n && i < terms->window; ++i) { /* full of lost ones it stays full */
        push(a, true);
    }
    return (terms->window > 0 && a->in_window > terms->max_misses) ||
           (terms->max_consecutive > 0 && a->consecutive > terms->max_consecutive);
}

/* ---- jobs ---------------------------------------------------------------------------------- */

/* Releases without a job since the newest one. By the nearest point of the grid: a release is told
 * by a clock, too. */
static uint32_t skipped_before(const rtl_loop_account *a, uint64_t release_us) {
    if (a->jobs == 0 || a->terms.period_us == 0 || release_us <= a->release_us) {
        return 0;
    }
    const uint64_t periods =
        (release_us - a->release_us + a->terms.period_us / 2u) / a->terms.period_us;
    const uint64_t skipped = periods > 0 ? periods - 1u : 0u;
    return skipped < UINT32_MAX ? (uint32_t)skipped : UINT32_MAX;
}

static uint32_t span_us(uint64_t from, uint64_t to) {
    const uint64_t span = to > from ? to - from : 0u;
    return span < INT32_MAX ? (uint32_t)span : INT32_MAX;
}

static void note_times(rtl_loop_account *a, uint32_t job, uint64_t deadline_us,
                       const rtl_job_verdict *verdict) {
    if (verdict->lateness_us > a->lateness_max_us) {
        a->lateness_max_us = verdict->lateness_us;
        a->worst_job = job;
        a->worst_us = deadline_us;
    }
    if (verdict->is_missed && a->misses++ == 0) {
        a->first_miss_job = job;
        a->first_miss_us = deadline_us;
    }
}

rtl_job_verdict rtl_loop_account_job(rtl_loop_account *account, uint64_t release_us,
                                     uint64_t start_us, uint64_t finish_us) {
    rtl_loop_account *const a = account;
    const uint32_t skipped = skipped_before(a, release_us);
    const uint32_t latency_us = span_us(release_us, start_us);
    const uint32_t response_us = span_us(release_us, finish_us > start_us ? finish_us : start_us);
    rtl_job_verdict verdict = {.lateness_us = (int32_t)response_us - (int32_t)a->terms.deadline_us};
    verdict.is_missed = verdict.lateness_us > 0;

    verdict.is_limit_broken = lose(a, skipped);
    if (verdict.is_missed) {
        verdict.is_limit_broken |= lose(a, 1);
    } else {
        a->consecutive = 0;
        push(a, false);
    }
    a->skipped += skipped;
    note_times(a, a->jobs + a->skipped, release_us + a->terms.deadline_us, &verdict);
    a->jobs++;
    a->limit_broken += verdict.is_limit_broken;
    a->release_us = release_us;
    rtl_histogram_add(&a->response, response_us);
    rtl_histogram_add(&a->release_latency, latency_us);
    verdict.is_failure = a->terms.loop_class == RTL_CLASS_HARD
                             ? verdict.is_missed || skipped > 0
                             : verdict.is_limit_broken && a->terms.fault_on_limit;
    return verdict;
}
