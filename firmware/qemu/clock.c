#include "clock.h"

#include <stdbool.h>

#include "mps2_an386.h"

#define TICKS_PER_US (CLOCK_HZ / 1000000u)
/* The counter wraps after 171 s and has to be read before that, the watchdog fed far sooner. */
#define SLEEP_MAX_US 100000u

static volatile uint32_t wraps, newest_ticks;
static volatile bool is_woken;
static uint64_t origin_us;
static int64_t ppm;

void timer1_handler(void);

void clock_start(uint64_t now_us, int32_t drift_ppm) {
    wraps = newest_ticks = 0;
    origin_us = now_us;
    ppm = drift_ppm;
    TIMER0->reload = TIMER0->value = UINT32_MAX;
    TIMER0->control = TIMER_CONTROL_ENABLE;
    NVIC_ENABLE[0] = 1u << IRQ_TIMER1;
}

uint64_t clock_now_us(void) {
    const uint32_t mask = disable_interrupts();
    const uint32_t ticks = ~TIMER0->value; /* it counts down */
    wraps += ticks < newest_ticks;
    newest_ticks = ticks;
    const uint64_t now = (uint64_t)wraps << 32 | ticks;
    restore_interrupts(mask);
    const int64_t us = (int64_t)(now / TICKS_PER_US);
    return origin_us +
           (uint64_t)(ppm == 0 ? us : us + us / 1000000 * ppm + us % 1000000 * ppm / 1000000);
}

static void set_alarm(uint32_t us) {
    TIMER1->control = 0;
    TIMER1->reload = TIMER1->value = us * TICKS_PER_US;
    TIMER1->control = TIMER_CONTROL_ENABLE | TIMER_CONTROL_INTERRUPT;
}

void clock_sleep_until(uint64_t us) {
    const uint64_t now = clock_now_us();
    if (us > now) {
        set_alarm(us - now < SLEEP_MAX_US ? (uint32_t)(us - now) : SLEEP_MAX_US);
        /* With interrupts off, one that comes before `wfi` still ends it, and none is slept over.
         */
        const uint32_t mask = disable_interrupts();
        while (!is_woken) {
            __asm volatile("wfi");
            restore_interrupts(mask); /* it runs now */
            disable_interrupts();
        }
        restore_interrupts(mask);
    }
    is_woken = false;
}

void clock_wake(void) {
    is_woken = true;
}

void timer1_handler(void) {
    TIMER1->control = 0;
    TIMER1->interrupt = 1;
    is_woken = true;
}
