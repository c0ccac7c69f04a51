/* How the core started, and what it was before. */
#ifndef RTLOOP_QEMU_START_H_
#define RTLOOP_QEMU_START_H_

#include <stdint.h>

typedef enum { RESET_POWER_ON = 0, RESET_PIN, RESET_FAULT } reset_cause;

typedef struct {
    reset_cause cause;
    uint32_t count;    /* since power on */
    uint32_t fault_pc; /* of the instruction that faulted */
} reset_record;

/* Why this start. */
extern reset_record last_reset;

/* How much of the stack was ever used since the reset, in bytes, by interrupts included. */
uint32_t stack_used(void);

/*
 * Called after a fault at `pc`, which is 0 where the stack is what broke; then the board is reset.
 * A program with a machine defines it, and drives that to its safe output, by stores alone. In any
 * other it says so and ends with an error.
 */
void at_fault(uint32_t pc);

#endif /* RTLOOP_QEMU_START_H_ */
