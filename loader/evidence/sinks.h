/** Where the trace goes: the sinks of the configuration that this machine has. */
#pragma once

#include <stdbool.h>

struct boot;

/**
 * Starts the trace on every wanted sink that answers. False only if memory for the file's buffer is
 * missing; the other sinks are open then.
 */
bool sinks_open(struct boot *boot) __attribute__((warn_unused_result));
