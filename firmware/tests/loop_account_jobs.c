/*
 * An account at the end of a pipe, for a model in another language. Lines of numbers:
 *
 *     a CLASS FAULT MAX_MISSES WINDOW MAX_CONSECUTIVE PERIOD DEADLINE   begin an account
 *     j RELEASE START FINISH     → lateness missed broken failure
 *     e                          → what it came to, as JSON
 */
#include <inttypes.h>
#include <stdio.h>

#include "rtloop/loop_account.h"

static rtl_loop_account account;

static bool begin(void) {
    unsigned loop_class, fault, max_misses, window, max_consecutive;
    rtl_loop_terms terms = {0};
    if (scanf("%u %u %u %u %u %" SCNu32 " %" SCNu32, &loop_class, &fault, &max_misses, &window,
              &max_consecutive, &terms.period_us, &terms.deadline_us) != 7) {
        return false;
    }
    terms.loop_class = (uint8_t)loop_class;
    terms.fault_on_limit = fault != 0;
    terms.max_misses = (uint16_t)max_misses;
    terms.window = (uint16_t)window;
    terms.max_consecutive = (uint16_t)max_consecutive;
    printf("%d\n", rtl_loop_account_init(&account, &terms));
    return true;
}

static bool job(void) {
    uint64_t release_us, start_us, finish_us;
    if (scanf("%" SCNu64 " %" SCNu64 " %" SCNu64, &release_us, &start_us, &finish_us) != 3) {
        return false;
    }
    const rtl_job_verdict v = rtl_loop_account_job(&account, release_us, start_us, finish_us);
    printf("%" PRId32 " %d %d %d\n", v.lateness_us, v.is_missed, v.is_limit_broken, v.is_failure);
    return true;
}

static void print_histogram(const char *name, const rtl_histogram *histogram) {
    printf(", \"%s\": {\"n\": %" PRIu32 ", \"max_us\": %" PRIu32 ", \"counts\": [", name,
           histogram->n, histogram->max_us);
    for (unsigned i = 0; i < RTL_HISTOGRAM_BUCKETS; ++i) {
        printf("%s%" PRIu32, i > 0 ? ", " : "", histogram->counts[i]);
    }
    printf("]}");
}

static void print_account(void) {
    const rtl_loop_account *const a = &account;
    printf("{\"jobs\": %" PRIu32 ", \"skipped\": %" PRIu32 ", \"misses\": %" PRIu32
           ", \"limit_broken\": %" PRIu32 ", \"max_consecutive\": %" PRIu32
           ", \"lateness_max_us\": %" PRId32 ", \"worst_job\": %" PRIu32 ", \"worst_us\": %" PRIu64
           ", \"first_miss_job\": %" PRIu32 ", \"first_miss_us\": %" PRIu64,
           a->jobs, a->skipped, a->misses, a->limit_broken, a->max_consecutive, a->lateness_max_us,
           a->worst_job, a->worst_us, a->first_miss_job, a->first_miss_us);
    print_histogram("response", &a->response);
    print_histogram("release_latency", &a->release_latency);
    printf("}\n");
}

int main(void) {
    char what;
    while (scanf(" %c", &what) == 1) {
        if (what == 'e') {
            print_account();
        } else if (!(what == 'a' ? begin() : job())) {
            return 1;
        }
        fflush(stdout);
    }
    return 0;
}
