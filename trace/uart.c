#include "trace/sinks.h"

#include "trace/port_io.h"

/* Registers of a 16550, as offsets from the base port (National Semiconductor PC16550D data sheet,
 * table II). */
enum uart_register {
    TRANSMIT_HOLDING = 0,
    DIVISOR_LOW = 0, /* with LINE_CONTROL_DIVISOR */
    INTERRUPT_ENABLE = 1,
    DIVISOR_HIGH = 1, /* with LINE_CONTROL_DIVISOR */
    INTERRUPT_IDENTIFICATION = 2,
    FIFO_CONTROL = 2,
    LINE_CONTROL = 3,
    MODEM_CONTROL = 4,
    LINE_STATUS = 5,
    MODEM_STATUS = 6,
    SCRATCH = 7,
};

#define LINE_CONTROL_8N1 0x03
#define LINE_CONTROL_DIVISOR 0x80
#define FIFO_ENABLE 0x01
#define IDENTIFICATION_FIFOS 0xc0
#define MODEM_CONTROL_DTR_RTS 0x03
#define LINE_STATUS_HOLDING_EMPTY 0x20
#define LINE_STATUS_ALL_SENT 0x40

/* In loopback RTS comes back as CTS and OUT2 as DCD; DSR and RI stay clear. No byte is sent for
 * this. */
#define MODEM_CONTROL_LOOPBACK 0x1a
#define MODEM_STATUS_LINES 0xf0
#define MODEM_STATUS_LOOPED 0x90

#define DIVISOR_115200 1
#define FIFO_BYTES 16

static uint8_t read_register(const struct uart_place *place, enum uart_register which) {
#ifdef CR3SCOPE_UART_MEMORY
    if (place->stride != 0) {
        return register_in8(place->base + (uint64_t)which * place->stride, place->width);
    }
#endif
    return port_in8((uint16_t)(place->base + (uint64_t)which));
}

static void write_register(const struct uart_place *place, enum uart_register which,
                           uint8_t value) {
#ifdef CR3SCOPE_UART_MEMORY
    if (place->stride != 0) {
        register_out8(place->base + (uint64_t)which * place->stride, place->width, value);
        return;
    }
#endif
    port_out8((uint16_t)(place->base + (uint64_t)which), value);
}

static struct uart_place in_ports(uint16_t port) {
    struct uart_place place;
    place.base = port;
    place.stride = place.width = 0;
    place.keep_line = false;
    return place;
}

static bool wait_for_status(const struct uart_place *place, uint8_t bits) {
    for (unsigned poll = 0; poll < UART_MAX_POLLS; poll++) {
        if ((read_register(place, LINE_STATUS) & bits) == bits) {
            return true;
        }
    }
    return false;
}

static bool scratch_keeps(const struct uart_place *place, uint8_t value) {
    write_register(place, SCRATCH, value);
    return read_register(place, SCRATCH) == value;
}

static bool loops_back(const struct uart_place *place) {
    uint8_t before = read_register(place, MODEM_CONTROL);
    write_register(place, MODEM_CONTROL, MODEM_CONTROL_LOOPBACK);
    uint8_t lines = read_register(place, MODEM_STATUS) & MODEM_STATUS_LINES;
    write_register(place, MODEM_CONTROL, before);
    return lines == MODEM_STATUS_LOOPED;
}

static void set_line(const struct uart_place *place) {
    static const uint8_t steps[][2] = {
        {INTERRUPT_ENABLE, 0},
        {LINE_CONTROL, LINE_CONTROL_8N1 | LINE_CONTROL_DIVISOR},
        {DIVISOR_LOW, DIVISOR_115200},
        {DIVISOR_HIGH, 0},
        {LINE_CONTROL, LINE_CONTROL_8N1},
        {FIFO_CONTROL, FIFO_ENABLE},
        {MODEM_CONTROL, MODEM_CONTROL_DTR_RTS},
    };
    for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        if (place->keep_line && i >= 1 && i <= 3) {
            continue; /* what sets the speed */
        }
        write_register(place, (enum uart_register)steps[i][0], steps[i][1]);
    }
}

static void uart_write(void *context, const char *bytes, size_t count) {
    struct uart_sink *uart = (struct uart_sink *)context;
    for (size_t sent = 0; sent < count;) {
        if (uart->timeouts == UART_MAX_TIMEOUTS) {
            uart->dropped += count - sent;
            return;
        }
        bool ready = wait_for_status(&uart->place, LINE_STATUS_HOLDING_EMPTY);
        if (!ready) {
            uart->timeouts++;
            uart->dropped++;
            sent++;
            continue;
        }
        for (unsigned i = 0; i < uart->burst && sent < count; i++) {
            write_register(&uart->place, TRANSMIT_HOLDING, (uint8_t)bytes[sent++]);
        }
    }
}

void uart_sink_resume_at(struct uart_sink *uart_ret, const struct uart_place *place) {
    uint8_t fifos = read_register(place, INTERRUPT_IDENTIFICATION) & IDENTIFICATION_FIFOS;
    uart_ret->sink.name = "uart";
    uart_ret->sink.write = uart_write;
    uart_ret->sink.context = uart_ret;
    uart_ret->place = *place;
    uart_ret->burst = fifos == IDENTIFICATION_FIFOS ? FIFO_BYTES : 1;
    uart_ret->timeouts = 0;
    uart_ret->dropped = 0;
}

bool uart_sink_init_at(struct uart_sink *uart_ret, const struct uart_place *place) {
    if (!scratch_keeps(place, 0x5a) || !scratch_keeps(place, 0xa5)) {
        return false;
    }
    /* What the firmware still has in the transmitter must leave before the line is set anew. */
    if (!wait_for_status(place, LINE_STATUS_HOLDING_EMPTY | LINE_STATUS_ALL_SENT) ||
        !loops_back(place)) {
        return false;
    }
    set_line(place);
    uart_sink_resume_at(uart_ret, place);
    return true;
}

void uart_sink_resume(struct uart_sink *uart_ret, uint16_t port) {
    const struct uart_place place = in_ports(port);
    uart_sink_resume_at(uart_ret, &place);
}

bool uart_sink_init(struct uart_sink *uart_ret, uint16_t port) {
    const struct uart_place place = in_ports(port);
    return uart_sink_init_at(uart_ret, &place);
}
