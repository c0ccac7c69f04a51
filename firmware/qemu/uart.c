#include "uart.h"

#include "clock.h"
#include "mps2_an386.h"

#define RX_SIZE 2048u /* powers of two */
#define TX_SIZE 4096u

struct uart {
    uart_registers *registers;
    unsigned rx_irq; /* the one to send follows */
    void (*on_byte)(uint8_t byte);
    uint8_t rx[RX_SIZE], tx[TX_SIZE];
    /* Counted on and on. One writer each; one core, so order in the program is order in memory. */
    volatile uint32_t rx_in, rx_out, tx_in, tx_out;
    volatile uint64_t arrived_us;
    volatile uint32_t dropped;
};

static uart link_uart, console_uart;
uart *const uart_link = &link_uart;
uart *const uart_console = &console_uart;

void uart0_rx_handler(void);
void uart0_tx_handler(void);
void uart1_rx_handler(void);
void uart1_tx_handler(void);

static unsigned tx_irq(const uart *self) {
    return self->rx_irq + 1;
}

void uart_start(uart *self, void (*on_byte)(uint8_t byte)) {
    self->registers = self == &link_uart ? UART0 : UART1;
    self->rx_irq = self == &link_uart ? IRQ_UART0_RX : IRQ_UART1_RX;
    self->on_byte = on_byte;
    self->registers->baud_divider = 25; /* 1 Mbaud; no emulated wire is as slow */
    self->registers->control =
        UART_CONTROL_TX | UART_CONTROL_RX | UART_CONTROL_TX_INTERRUPT | UART_CONTROL_RX_INTERRUPT;
    NVIC_PRIORITY[self->rx_irq] = 0x20;
    NVIC_PRIORITY[tx_irq(self)] = 0x40; /* a byte that is sent later is not lost */
    NVIC_ENABLE[0] = 1u << self->rx_irq | 1u << tx_irq(self);
}

size_t uart_read(uart *self, uint8_t *bytes, size_t size, uint64_t *arrived_us) {
    const uint32_t mask = disable_interrupts();
    const uint32_t in = self->rx_in;
    *arrived_us = self->arrived_us;
    restore_interrupts(mask);
    size_t n = 0;
    for (uint32_t out = self->rx_out; n < size && out != in; ++out) {
        bytes[n++] = self->rx[out % RX_SIZE];
    }
    self->rx_out += (uint32_t)n;
    return n;
}

bool uart_write(uart *self, const uint8_t *bytes, size_t n) {
    const uint32_t in = self->tx_in;
    if (n > TX_SIZE - (in - self->tx_out)) {
        return false;
    }
    for (size_t i = 0; i < n; ++i) {
        self->tx[(in + i) % TX_SIZE] = bytes[i];
    }
    self->tx_in = in + (uint32_t)n;
    NVIC_SET_PENDING[0] = 1u << tx_irq(self); /* nothing else would start an idle line */
    return true;
}

uint32_t uart_dropped(const uart *self) {
    return self->dropped;
}

static void receive(uart *self) {
    uart_registers *const registers = self->registers;
    registers->interrupt = UART_INTERRUPT_RX;
    while ((registers->state & UART_STATE_RX_FULL) != 0) {
        const uint8_t byte = (uint8_t)registers->data;
        if (self->on_byte != NULL) {
            self->on_byte(byte);
        } else if (self->rx_in - self->rx_out == RX_SIZE) {
            self->dropped++;
        } else {
            self->rx[self->rx_in % RX_SIZE] = byte;
            self->rx_in++;
        }
    }
    self->arrived_us = clock_now_us();
    clock_wake();
}

static void transmit(uart *self) {
    uart_registers *const registers = self->registers;
    registers->interrupt = UART_INTERRUPT_TX;
    while (self->tx_out != self->tx_in && (registers->state & UART_STATE_TX_FULL) == 0) {
        registers->data = self->tx[self->tx_out % TX_SIZE];
        self->tx_out++;
    }
}

void uart0_rx_handler(void) {
    receive(&link_uart);
}

void uart0_tx_handler(void) {
    transmit(&link_uart);
}

void uart1_rx_handler(void) {
    receive(&console_uart);
}

void uart1_tx_handler(void) {
    transmit(&console_uart);
}
