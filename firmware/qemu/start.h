/* How the core started, and what it was before. */
#ifndef RTLOOP_QEMU_START_H_
#define RTLOOP_QEMU_START_H_

#include <stdint.h>

typedef enum { RESET_POWER_ON = 0, RESET_PIN, RESET_FAULT, RESET_WATCHDOG } reset_cause;

typedef struct {
    reset_cause cause;
    uint32_t count;    /* since power on */
    uint32_t fault_pc; /* where it faulted, or was when the watchdog barked */
} reset_record;

/* Why this start. */
extern reset_record last_reset;

/* How much of the stack was ever used since the reset, in bytes, by interrupts included. */
uint32_t stack_used(void);

/*
 * From now on the loop has to feed it more often than every `timeout_us`. Where it does not, that
 * is a fault (a non-maskable interrupt), and where that handler hangs, too, a reset.
 */
void watchdog_start(uint32_t timeout_us);
void watchdog_feed(void);

/*
 * Called after a fault at `pc`, which is 0 where the stack is what broke; then the board is reset.
 * A program with a machine defines it, and drives that to its safe output, by stores alone. In any
 * other it says so and ends with an error.
 */
void at_fault(uint32_t pc);

#endif /* RTLOOP_QEMU_START_H_ */
