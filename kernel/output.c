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
static bool has_uart;

static void use_uart(void) {
    has_uart = true;
    trace_add_sink(&trace, &uart.sink);
}

void output_resume(const struct handoff *handoff) {
    const struct handoff_trace *position = &handoff->trace;
    const struct handoff_uart *in_memory = &handoff->uart;
    const struct trace_position resumed = {
        .bytes = position->bytes, .sequence = position->sequence, .crc = position->crc};
    trace_resume(&trace, &resumed);
    if (position->uart_port != 0) {
        uart_sink_resume(&uart, position->uart_port);
        use_uart();
    } else if (handoff->size >= sizeof(*handoff) && in_memory->phys != 0) {
        const struct uart_place place = {.base = in_memory->phys,
                                         .stride = (uint8_t)in_memory->stride,
                                         .width = (uint8_t)in_memory->width};
        uart_sink_resume_at(&uart, &place);
        use_uart();
    }
    if (position->debugcon_port != 0) {
        debugcon_sink_resume(&debugcon, position->debugcon_port);
        trace_add_sink(&trace, &debugcon.sink);
    }
}

void output_probe(void) {
    trace_init(&trace);
    if (uart_sink_init(&uart, UART_COM1)) {
        use_uart();
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

static void wait_for_status(const struct uart_place *place, uint8_t bit) {
    for (unsigned polls = 0; polls < UART_MAX_POLLS; polls++) {
        uint8_t status =
            place->stride == 0
                ? port_in8((uint16_t)(place->base + UART_LINE_STATUS))
                : register_in8(place->base + UART_LINE_STATUS * place->stride, place->width);
        if ((status & bit) != 0) {
            return;
        }
    }
}

static void put(const struct uart_place *place, char byte) {
    wait_for_status(place, UART_HOLDING_EMPTY);
    if (place->stride == 0) {
        port_out8((uint16_t)place->base, (uint8_t)byte);
    } else {
        register_out8(place->base, place->width, (uint8_t)byte);
    }
}

void output_last_words(const char *line) {
    const struct uart_place first_port = {.base = UART_COM1};
    const struct uart_place *place = has_uart ? &uart.place : &first_port;
    for (; *line != '\0'; line++) {
        put(place, shown(*line));
    }
    put(place, '\r');
    put(place, '\n');
}

void output_drain(void) {
    if (has_uart) {
        wait_for_status(&uart.place, UART_TRANSMITTER_EMPTY);
    }
}
