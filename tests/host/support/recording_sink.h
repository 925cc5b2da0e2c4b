/** A sink that keeps what it is given, for tests that look at the bytes or write them to a file. */
#pragma once

#include <stddef.h>

#include "trace/trace.h"

struct recording_sink {
    struct trace_sink sink;
    size_t used;
    size_t writes;
    char bytes[8 * 1024 * 1024]; /* more than any trace of a test; NUL-terminated */
};

/** Empty; owned by the caller, who frees it. */
struct recording_sink *recording_sink_new(void);
/** Record `index` without its trailer, or "" if there are fewer; valid until the next call. */
const char *recording_sink_body(const struct recording_sink *recording, size_t index);
/** Records kept. */
size_t recording_sink_records(const struct recording_sink *recording);
