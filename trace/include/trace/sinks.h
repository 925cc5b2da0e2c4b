/** Sinks that need nothing but the CPU's I/O ports. Every wait is bounded. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "trace/trace.h"

struct uart_sink {
    struct trace_sink sink;
    uint16_t port; /* base I/O port of the 16550 */
    uint64_t dropped; /* bytes that no ready transmitter took in time */
};

/**
 * Probes a 16550 at port (scratch register, then loopback), sets 115200 8N1 with FIFOs. False if nothing is there
 * (reads FF or 00): then *uart_ret is untouched.
 */
bool uart_sink_init(struct uart_sink *uart_ret, uint16_t port);
/** For a port that another program has set up already (the kernel after the loader): no probe. */
void uart_sink_resume(struct uart_sink *uart_ret, uint16_t port);

struct debugcon_sink {
    struct trace_sink sink;
    uint16_t port;
};

/** QEMU's debug console: port E9 reads back E9. False if it does not. */
bool debugcon_sink_init(struct debugcon_sink *debugcon_ret, uint16_t port);

/** A buffer in memory: what the loader later writes to a file. Bytes that do not fit are counted in `dropped`. */
struct buffer_sink {
    struct trace_sink sink;
    char *bytes;
    uint64_t size, used, dropped;
};
void buffer_sink_init(struct buffer_sink *buffer_ret, char *bytes, uint64_t size);
