/*
 * A fuzz target: LLVMFuzzerTestOneInput() of one file. Two programs drive it: libFuzzer, which
 * looks for inputs that reach new code, and seeded.c, which makes the same inputs on every machine
 * with any compiler. Of an input the first byte says how to take the rest: as the bytes of a line,
 * or as the choices of a peer that mostly keeps to the protocol, so that what lies behind a CRC and
 * a handshake is reached.
 *
 * What must hold and does not ends the program.
 */
#ifndef RTLOOP_TESTS_FUZZ_H_
#define RTLOOP_TESTS_FUZZ_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "random.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was seen so far, in a line; false when that is too little to have tested anything. */
bool fuzz_report(void);

static inline void fuzz_fail(const char *what) {
    fprintf(stderr, "must hold, and does not: %s\n", what);
    abort();
}

/* Choices, from the bytes of an input; all are 0 when it is used up. */
typedef struct {
    const uint8_t *at;
    size_t left;
} choices;

/* 0 .. n - 1 */
static inline uint32_t choose(choices *from, uint32_t n) {
    uint32_t value = 0;
    for (uint32_t reach = n - 1; reach > 0 && from->left > 0; reach >>= 8) {
        value = value << 8 | *from->at++;
        --from->left;
    }
    return value % n;
}

/* Bytes that nobody wants to choose one by one: a seed of two, for random.h. */
static inline uint64_t choose_seed(choices *from) {
    return choose(from, 65536);
}

#endif
