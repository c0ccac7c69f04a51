#include "device_time.h"

#include <zephyr/kernel.h>

BUILD_ASSERT(IS_ENABLED(CONFIG_TIMER_HAS_64BIT_CYCLE_COUNTER),
             "device time never wraps: set CORTEX_M_SYSTICK_64BIT_CYCLE_COUNTER, or another timer");
BUILD_ASSERT(CONFIG_SYS_CLOCK_HW_CYCLES_PER_SEC % CONFIG_SYS_CLOCK_TICKS_PER_SEC == 0,
             "a tick is a whole number of the counter's cycles: change SYS_CLOCK_TICKS_PER_SEC");

static uint64_t first_tick_cycles;

/* The counter of some cores (RISC-V's mtime, Arm's generic timer) has run since power on, or since
 * before that: the kernel begins to tick at some multiple of a tick's cycles. */
void device_time_start(void) {
    const uint64_t tick_cycles = sys_clock_hw_cycles_per_sec() / CONFIG_SYS_CLOCK_TICKS_PER_SEC;
    uint64_t before_ticks = UINT64_MAX;
    for (int i = 0; i < 3; ++i) { /* a tick that is not counted yet makes it more, never less */
        const uint64_t ticks = (uint64_t)k_uptime_ticks();
        before_ticks = MIN(before_ticks, k_cycle_get_64() / tick_cycles - ticks);
        k_busy_wait(USEC_PER_SEC / CONFIG_SYS_CLOCK_TICKS_PER_SEC / 2);
    }
    first_tick_cycles = before_ticks * tick_cycles;
}

uint64_t device_time_us(void) {
    return k_cyc_to_us_floor64(k_cycle_get_64() - first_tick_cycles);
}
