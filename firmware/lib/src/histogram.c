#include "rtloop/histogram.h"

#include <string.h>

/* Buckets an octave. */
#define SUB 4u

void rtl_histogram_clear(rtl_histogram *histogram) {
    memset(histogram, 0, sizeof *histogram);
}

void rtl_histogram_add(rtl_histogram *histogram, uint32_t us) {
    histogram->n++;
    histogram->counts[rtl_histogram_bucket(us)]++;
    if (us > histogram->max_us) {
        histogram->max_us = us;
    }
}

unsigned rtl_histogram_bucket(uint32_t us) {
    unsigned shift = 0; /* of an octave: its buckets are 1 << shift wide */
    if (us < SUB) {
        return us;
    }
    while (us >> shift >= 2u * SUB) {
        ++shift;
    }
    const unsigned bucket = SUB * shift + (us >> shift);
    return bucket < RTL_HISTOGRAM_BUCKETS ? bucket : RTL_HISTOGRAM_BUCKETS - 1u;
}

uint32_t rtl_histogram_edge_us(unsigned bucket) {
    if (bucket < 2u * SUB) {
        return bucket;
    }
    return (uint32_t)(SUB + bucket % SUB) << (bucket / SUB - 1u);
}
