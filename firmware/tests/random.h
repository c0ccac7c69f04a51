/* A small seeded generator: the same run on every machine. */
#ifndef RTLOOP_TESTS_RANDOM_H_
#define RTLOOP_TESTS_RANDOM_H_

#include <stdint.h>

/* SplitMix64 (Steele, Lea, Flood 2014). */
static inline uint64_t random_word(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* 0 .. n - 1 */
static inline uint32_t random_below(uint64_t *state, uint32_t n) {
    return (uint32_t)(random_word(state) >> 32) % n;
}

#endif
