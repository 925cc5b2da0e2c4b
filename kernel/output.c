#include "output.h"

#include <stdint.h>

#include "trace/port_io.h"
#include "trace/sinks.h"

#define UART_LINE_STATUS 5u /* register offset (16550 data sheet) */
#define UART_HOLDING_EMPTY (1u << 5)
#define UART_TRANSMITTER_EMPTY (1u << 6) /* the shift register too, not just the holding one */

static struct trace trace;
static struct uart_sink uart;
static struct debugcon_sink debugcon;
static uint16_t uart_port; /* 0: none */

static void use_uart(uint16_t port) {
    uart_port = port;
    trace_add_sink(&trace, &uart.sink);
}

void output_resume(const struct handoff_trace *position) {
    const struct trace_position resumed = {
        .bytes = position->bytes, .sequence = position->sequence, .crc = position->crc};
    trace_resume(&trace, &resumed);
    if (position->uart_port != 0) {
        uart_sink_resume(&uart, position->uart_port);
        use_uart(position->uart_port);
    }
    if (position->debugcon_port != 0) {
        debugcon_sink_resume(&debugcon, position->debugcon_port);
        trace_add_sink(&trace, &debugcon.sink);
    }
}

void output_probe(void) {
    trace_init(&trace);
    if (uart_sink_init(&uart, UART_COM1)) {
        use_uart(UART_COM1);
    }
    if (debugcon_sink_init(&debugcon, DEBUGCON_PORT)) {
        trace_add_sink(&trace, &debugcon.sink);
    }
}

struct trace *output_trace(void) {
    return &trace;
}

static void write_all(const char *bytes, size_t count) {
    for (size_t i = 0; i < trace.sink_count; i++) {
        trace.sinks[i]->write(trace.sinks[i]->context, bytes, count);
    }
}

/* '@' begins the trace's sentinel, and a line that starts with LF looks like damage
 * (docs/trace-format.md). */
static char shown(char character) {
    return character < 0x20 || character > 0x7e || character == '@' ? '?' : character;
}

void output_line(const char *line) {
    char piece[64];
    size_t count = 0;
    for (; *line != '\0'; line++) {
        if (count == sizeof(piece)) {
            write_all(piece, count);
            count = 0;
        }
        piece[count++] = shown(*line);
    }
    write_all(piece, count);
    write_all("\r\n", 2);
}

static void wait_for_status(uint16_t port, uint8_t bit) {
    for (unsigned polls = 0; polls < UART_MAX_POLLS; polls++) {
        if ((port_in8((uint16_t)(port + UART_LINE_STATUS)) & bit) != 0) {
            return;
        }
    }
}

void output_last_words(const char *line) {
    uint16_t port = uart_port != 0 ? uart_port : UART_COM1;
    for (; *line != '\0'; line++) {
        wait_for_status(port, UART_HOLDING_EMPTY);
        port_out8(port, (uint8_t)shown(*line));
    }
    port_out8(port, '\r');
    port_out8(port, '\n');
}

void output_drain(void) {
    if (uart_port != 0) {
        wait_for_status(uart_port, UART_TRANSMITTER_EMPTY);
    }
}
