/**
 * Sinks that need nothing but the CPU's I/O ports and memory. Every wait is bounded.
 *
 * Each `sink` points back to its struct: it must stay where it was initialised.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "trace/trace.h"

/** Where a 16550 is. */
struct uart_place {
    uint64_t base;  /* I/O port or, with a stride, virtual address: mapped wherever it is used */
    uint8_t stride; /* bytes from one register to the next: 1, 2, 4 or 8; 0: they are I/O ports */
    uint8_t width;  /* bytes of one access to memory: 4, else 1 */
    bool keep_line; /* its speed is set already, and its clock may be any: it is left as it is */
};

struct uart_sink {
    struct trace_sink sink;
    struct uart_place place;
    uint8_t burst;    /* bytes that an empty transmitter takes at once */
    uint8_t timeouts; /* after UART_MAX_TIMEOUTS it is given up: bytes are only counted */
    uint64_t dropped; /* bytes that no ready transmitter took in time */
};

/** Base I/O port of COM1. */
#define UART_COM1 0x3f8

/**
 * How often the line status is read before one wait counts as a timeout. One read takes about 1 us
 * on hardware and some 100 ns under an emulator; sixteen bytes take 1.4 ms at 115200 baud.
 */
#define UART_MAX_POLLS 400000u
#define UART_MAX_TIMEOUTS 3

/**
 * Probes a 16550 at port (scratch register, then loopback), sets 115200 8N1 with FIFOs. False if
 * nothing is there (reads FF or 00): then *uart_ret is untouched. An absent port gets two writes
 * to its scratch register at most.
 */
bool uart_sink_init(struct uart_sink *uart_ret, uint16_t port) __attribute__((warn_unused_result));
/** The same of a 16550 anywhere. */
bool uart_sink_init_at(struct uart_sink *uart_ret, const struct uart_place *place)
    __attribute__((warn_unused_result));
/** For a port that another program has set up already (the kernel after the loader): no probe. */
void uart_sink_resume(struct uart_sink *uart_ret, uint16_t port);
/** The same of a 16550 anywhere. */
void uart_sink_resume_at(struct uart_sink *uart_ret, const struct uart_place *place);

struct debugcon_sink {
    struct trace_sink sink;
    uint16_t port;
};

/** I/O port of VirtualBox's log, a line of it for each that is written. */
#define DEBUGCON_PORT_VIRTUALBOX 0x504
/** I/O port of QEMU's and Bochs's debug console, and what a read of it gives. */
#define DEBUGCON_PORT 0xe9
#define DEBUGCON_SIGNATURE 0xe9

/** False if the port does not read back DEBUGCON_SIGNATURE; then *debugcon_ret is untouched. */
bool debugcon_sink_init(struct debugcon_sink *debugcon_ret, uint16_t port)
    __attribute__((warn_unused_result));
/**
 * For a port that another program has found already, or that cannot be probed (VirtualBox's, Xen's,
 * which read as nothing does): no probe.
 */
void debugcon_sink_resume(struct debugcon_sink *debugcon_ret, uint16_t port);

/** A buffer in memory, which the loader later writes to a file. */
struct buffer_sink {
    struct trace_sink sink;
    char *bytes;
    uint64_t size, used;
    uint64_t dropped; /* bytes that did not fit */
};

/** Empty. The bytes stay the caller's; so does the choice of another sink.name. */
void buffer_sink_init(struct buffer_sink *buffer_ret, char *bytes, uint64_t size);
