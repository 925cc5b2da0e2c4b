/** The outcome of checks: a `check` record and a PASS or FAIL line each, then the totals. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/** `detail` says what was seen (NULL: nothing to say); only a failure carries it into the trace. */
void report(bool passed, const char *name, const char *detail);
/** What is reported from now on is about this CPU; 0, the first, is not named. */
void report_on_cpu(uint32_t cpu);
/** Writes the totals, closes the kernel's section of the trace, and says whether every check
 * passed. */
bool report_close(void);
