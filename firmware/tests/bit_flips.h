/* A wire that flips one bit in so many, each by itself: geometric distances between two of them. */
#ifndef RTLOOP_TESTS_BIT_FLIPS_H_
#define RTLOOP_TESTS_BIT_FLIPS_H_

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "random.h"

typedef struct {
    uint64_t seed;
    double log_of_none; /* of the probability that a bit is left alone */
    uint64_t bits_left; /* to the next one that is flipped */
} bit_flips;

static inline void bit_flips_next(bit_flips *wire) {
    const double uniform = ((double)(random_word(&wire->seed) >> 11) + 0.5) / 9007199254740992.0;
    wire->bits_left = (uint64_t)(log(uniform) / wire->log_of_none);
}

static inline void bit_flips_init(bit_flips *wire, uint64_t seed, uint32_t one_in) {
    wire->seed = seed;
    wire->log_of_none = log1p(-1.0 / one_in);
    bit_flips_next(wire);
}

/* Sends the bytes through the wire; how many bits it flipped. */
static inline size_t bit_flips_send(bit_flips *wire, uint8_t *bytes, size_t n) {
    size_t flipped = 0;
    uint64_t bit = 0;
    while (wire->bits_left < 8 * n - bit) {
        bit += wire->bits_left;
        bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1u << bit % 8);
        ++bit;
        ++flipped;
        bit_flips_next(wire);
    }
    wire->bits_left -= 8 * n - bit;
    return flipped;
}

#endif
