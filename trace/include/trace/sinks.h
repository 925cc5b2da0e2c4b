/**
 * Sinks that need nothing but the CPU's I/O ports and memory. Every wait is bounded.
 *
 * Each `sink` points back to its struct: it must stay where it was initialised.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "trace/trace.h"

struct uart_sink {
    struct trace_sink sink;
    uint16_t port;    /* base I/O port of the 16550 */
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
/** For a port that another program has set up already (the kernel after the loader): no probe. */
void uart_sink_resume(struct uart_sink *uart_ret, uint16_t port);

struct debugcon_sink {
    struct trace_sink sink;
    uint16_t port;
};

/** I/O port of QEMU's and Bochs's debug console, and what a read of it gives. */
#define DEBUGCON_PORT 0xe9
#define DEBUGCON_SIGNATURE 0xe9

/** False if the port does not read back DEBUGCON_SIGNATURE; then *debugcon_ret is untouched. */
bool debugcon_sink_init(struct debugcon_sink *debugcon_ret, uint16_t port)
    __attribute__((warn_unused_result));
/** For a port that another program has found already: no probe. */
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
