/*
 * From reset to main() and, after a fault, back. Arguments, exit code and stdout are those of a
 * program, by semihosting (newlib's librdimon).
 */
#include "start.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mps2_an386.h"

#define ARGUMENTS_MAX 48
#define COMMAND_LINE_MAX 1024
#define SYS_GET_CMDLINE 0x15
#define STACK_PAINT 0xA5A5A5A5u
/* In memory that a reset leaves alone and power on fills with something else. */
#define IS_KEPT 0x6B657074u

extern uint32_t data_begin[], data_end[], data_image[], bss_begin[], bss_end[];
extern uint32_t stack_begin[], stack_end[];

int main(int argc, char **argv);
void initialise_monitor_handles(void);
void __libc_init_array(void);
void reset_handler(void);

reset_record last_reset;

static struct {
    uint32_t is_kept, count, is_fault, fault_pc;
} kept __attribute__((section(".noinit")));

static void read_reset_cause(void) {
    const bool is_power_on = kept.is_kept != IS_KEPT;
    if (is_power_on) {
        memset(&kept, 0, sizeof kept);
        kept.is_kept = IS_KEPT;
    } else {
        kept.count++;
    }
    last_reset = (reset_record){
        .cause = is_power_on           ? RESET_POWER_ON
                 : kept.is_fault != 0u ? RESET_FAULT
                                       : RESET_PIN,
        .count = kept.count,
        .fault_pc = kept.fault_pc,
    };
    kept.is_fault = 0;
    kept.fault_pc = 0;
}

static int split_command_line(char **argv) {
    static char text[COMMAND_LINE_MAX];
    struct {
        char *text;
        uint32_t size;
    } block = {text, sizeof text};
    register uint32_t operation __asm("r0") = SYS_GET_CMDLINE;
    register void *argument __asm("r1") = &block;
    __asm volatile("bkpt 0xAB" : "+r"(operation) : "r"(argument) : "memory");
    int argc = 0;
    for (char *word = strtok(text, " "); word != NULL && argc < ARGUMENTS_MAX;
         word = strtok(NULL, " ")) {
        argv[argc++] = word;
    }
    argv[argc] = NULL;
    return argc;
}

/* newlib asks for the two. */
void _init(void);
void _fini(void);
void _init(void) {}
void _fini(void) {}

__attribute__((noinline, used)) static void start(void) {
    static char *argv[ARGUMENTS_MAX + 1];
    memcpy(data_begin, data_image, (size_t)((char *)data_end - (char *)data_begin));
    memset(bss_begin, 0, (size_t)((char *)bss_end - (char *)bss_begin));
    read_reset_cause();
    initialise_monitor_handles();
    __libc_init_array();
    const int argc = split_command_line(argv);
    exit(main(argc, argv));
}

/* Paints the stack, which nothing is on yet, and turns the FPU on before the compiler uses it. */
__attribute__((naked)) void reset_handler(void) {
    __asm volatile(
        "ldr r0, =stack_begin\n\t"
        "ldr r1, =stack_end\n\t"
        "ldr r2, =0xA5A5A5A5\n"
        "1: str r2, [r0], #4\n\t"
        "cmp r0, r1\n\t"
        "blo 1b\n\t"
        "ldr r0, =0xE000ED88\n\t"
        "ldr r1, [r0]\n\t"
        "orr r1, r1, #0x00F00000\n\t"
        "str r1, [r0]\n\t"
        "dsb\n\t"
        "isb\n\t"
        "b start\n\t"
        ".ltorg\n");
}

uint32_t stack_used(void) {
    const uint32_t *lowest = stack_begin;
    while (lowest < stack_end && *lowest == STACK_PAINT) {
        ++lowest;
    }
    return (uint32_t)((const char *)stack_end - (const char *)lowest);
}

/* ---- faults -------------------------------------------------------------------------------- */

__attribute__((weak)) void at_fault(uint32_t pc) {
    printf("fault at 0x%08x\n", (unsigned)pc);
    exit(3);
}

__attribute__((noreturn, used)) static void on_fault(const uint32_t *frame) {
    const bool has_frame = frame >= stack_begin && frame + 8 <= stack_end;
    kept.fault_pc = has_frame ? frame[6] : 0;
    kept.is_fault = 1;
    at_fault(kept.fault_pc);
    __asm volatile("dsb" ::: "memory");
    SCB_AIRCR = SCB_AIRCR_RESET;
    for (;;) {
    }
}

__attribute__((naked)) static void fault_handler(void) {
    __asm volatile("mrs r0, msp\n\tb on_fault");
}

/* ---- vectors ------------------------------------------------------------------------------- */

#define HANDLER(name) __attribute__((weak, alias("unexpected_handler"))) void name(void)

void unexpected_handler(void);
void unexpected_handler(void) {
    __asm volatile("udf #0"); /* escalates to the fault handler */
}

HANDLER(uart0_rx_handler);
HANDLER(uart0_tx_handler);
HANDLER(uart1_rx_handler);
HANDLER(uart1_tx_handler);
HANDLER(timer1_handler);

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const struct {
    const void *stack;
    handler core[15], board[IRQ_COUNT];
} vectors = {
    .stack = stack_end,
    .core = {reset_handler, fault_handler, fault_handler, fault_handler, fault_handler,
             fault_handler, unexpected_handler, unexpected_handler, unexpected_handler,
             unexpected_handler, unexpected_handler, unexpected_handler, unexpected_handler,
             unexpected_handler, unexpected_handler},
    .board = {[IRQ_UART0_RX] = uart0_rx_handler,
              [IRQ_UART0_TX] = uart0_tx_handler,
              [IRQ_UART1_RX] = uart1_rx_handler,
              [IRQ_UART1_TX] = uart1_tx_handler,
              [IRQ_TIMER1] = timer1_handler},
};
