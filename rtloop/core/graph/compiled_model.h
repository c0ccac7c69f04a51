/* What a model compiled ahead of time exports: one symbol, of this form. Its C is made by
 * rtloop.policy.aot. */
#ifndef RTLOOP_COMPILED_MODEL_H
#define RTLOOP_COMPILED_MODEL_H

#include <stdint.h>

/* One more with every change of what follows; another number is refused, and nothing else read. */
#define RTLOOP_COMPILED_MODEL_ABI 1u
#define RTLOOP_COMPILED_MODEL_SYMBOL "rtloop_compiled_model"

struct rtloop_compiled_model {
    uint32_t abi;
    uint32_t n_inputs;
    uint32_t n_outputs;
    const uint64_t *bytes; /* of each input, then of each output */
    /* From inputs to outputs, each in C order, none of them overlapping. A pure function: no state,
     * no allocation, no system call; at most 256 KiB of stack. */
    void (*run)(const void *const *inputs, void *const *outputs);
};

#endif
