/** Where the kernel speaks: trace records, and plain lines for a person, on the channels that the
 * loader used. */
#pragma once

#include <stdbool.h>

#include "handoff.h"
#include "trace/trace.h"

/** Goes on with the loader's trace on its UART, in ports or in memory, and its debug console. */
void output_resume(const struct handoff *handoff);
/** Without a usable boot info: probes the first serial port and QEMU's debug console. */
void output_probe(void);

/** The trace; never NULL. */
struct trace *output_trace(void);
/** A plain line, CR LF added. Bytes that are not printable ASCII, and '@', are shown as '?'. */
void output_line(const char *line);
/** A plain line by the UART's registers alone, for when the trace library itself faults; to the
 * first serial port by default. */
void output_last_words(const char *line);
/** Waits, bounded, until the last byte has left the UART. */
void output_drain(void);
