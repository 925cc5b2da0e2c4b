/** The outcome of checks: a `check` record and a PASS or FAIL line each, then the totals. */
#pragma once

#include <stdbool.h>

/** `detail` says what was seen (NULL: nothing to say); only a failure carries it into the trace. */
void report(bool passed, const char *name, const char *detail);
/** Writes the totals, closes the kernel's section of the trace, and says whether every check
 * passed. */
bool report_close(void);
