/*
 * Counts of durations in whole µs: fixed memory, any range, known error.
 *
 * Below 4 µs a bucket is one value; from there on four buckets share an octave, so that a value is
 * known to a quarter of itself: bucket 4 (e - 1) + q holds [2^e + q 2^(e-2), 2^e + (q + 1)
 * 2^(e-2)). The last one holds everything from 1.8 s on. `max_us` is exact.
 */
#ifndef RTLOOP_HISTOGRAM_H
#define RTLOOP_HISTOGRAM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RTL_HISTOGRAM_BUCKETS 80u

typedef struct rtl_histogram {
    uint32_t n, max_us;
    uint32_t counts[RTL_HISTOGRAM_BUCKETS];
} rtl_histogram;

void rtl_histogram_clear(rtl_histogram *histogram);

void rtl_histogram_add(rtl_histogram *histogram, uint32_t us);

/* Which bucket a duration is counted in. */
unsigned rtl_histogram_bucket(uint32_t us);

/* The smallest duration of a bucket. */
uint32_t rtl_histogram_edge_us(unsigned bucket);

#ifdef __cplusplus
}
#endif

#endif
