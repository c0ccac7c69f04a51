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
 * The program's: called by the fault handler, on a stack that may be damaged, before it resets the
 * board. Drives the machine to its safe output, by stores alone.
 */
void make_safe_at_fault(void);

#endif /* RTLOOP_QEMU_START_H_ */
