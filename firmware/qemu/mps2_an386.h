/*
 * What is used of the peripherals of an MPS2 board with image AN386: Cortex-M4F at 25 MHz.
 * ARM DDI 0479C (CMSDK), ARM DAI 0386 (addresses and interrupts).
 */
#ifndef RTLOOP_QEMU_MPS2_AN386_H_
#define RTLOOP_QEMU_MPS2_AN386_H_

#include <stdint.h>

#define CLOCK_HZ 25000000u /* of the timers */

typedef struct {
    volatile uint32_t data, state, control, interrupt, baud_divider;
} uart_registers;

#define UART_STATE_TX_FULL 1u
#define UART_STATE_RX_FULL 2u
#define UART_CONTROL_TX 1u
#define UART_CONTROL_RX 2u
#define UART_CONTROL_TX_INTERRUPT 4u
#define UART_CONTROL_RX_INTERRUPT 8u
#define UART_INTERRUPT_TX 1u
#define UART_INTERRUPT_RX 2u

#define UART0 ((uart_registers *)0x40004000u)
#define UART1 ((uart_registers *)0x40005000u)

typedef struct {
    volatile uint32_t control, value, reload, interrupt;
} timer_registers;

#define TIMER_CONTROL_ENABLE 1u
#define TIMER_CONTROL_INTERRUPT 8u

#define TIMER0 ((timer_registers *)0x40000000u)
#define TIMER1 ((timer_registers *)0x40001000u)

typedef struct {
    volatile uint32_t load, value, control, clear, raw_status, status;
    uint32_t unused[0x2FA];
    volatile uint32_t lock;
} watchdog_registers;

#define WATCHDOG_CONTROL_NMI 1u
#define WATCHDOG_CONTROL_RESET 2u
#define WATCHDOG_UNLOCK 0x1ACCE551u

#define WATCHDOG ((watchdog_registers *)0x40008000u)

enum {
    IRQ_UART0_RX = 0,
    IRQ_UART0_TX = 1,
    IRQ_UART1_RX = 2,
    IRQ_UART1_TX = 3,
    IRQ_TIMER1 = 9,
    IRQ_COUNT = 16
};

/* Of the core. */
#define NVIC_ENABLE ((volatile uint32_t *)0xE000E100u)
#define NVIC_SET_PENDING ((volatile uint32_t *)0xE000E200u)
#define NVIC_PRIORITY ((volatile uint8_t *)0xE000E400u)
#define SCB_AIRCR (*(volatile uint32_t *)0xE000ED0Cu)
#define SCB_AIRCR_RESET 0x05FA0004u
#define SCB_CPACR (*(volatile uint32_t *)0xE000ED88u)
#define SCB_CPACR_FPU 0x00F00000u

/* Interrupts off; returns what restore_interrupts() needs to leave them as they were. */
static inline uint32_t disable_interrupts(void) {
    uint32_t mask;
    __asm volatile("mrs %0, primask\n\tcpsid i" : "=r"(mask)::"memory");
    return mask;
}

static inline void restore_interrupts(uint32_t mask) {
    __asm volatile("msr primask, %0" ::"r"(mask) : "memory");
}

#endif /* RTLOOP_QEMU_MPS2_AN386_H_ */
