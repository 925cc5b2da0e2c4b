#include "support/recording_sink.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRAILER_BYTES 10u /* " #" and eight digits */

static void recording_write(void *context, const char *bytes, size_t count) {
    struct recording_sink *recording = context;
    if (count >= sizeof(recording->bytes) - recording->used) {
        fprintf(stderr, "recording_sink: a trace of more than %zu bytes\n",
                sizeof(recording->bytes));
        abort();
    }
    memcpy(recording->bytes + recording->used, bytes, count);
    recording->used += count;
    recording->bytes[recording->used] = '\0';
    recording->writes++;
}

struct recording_sink *recording_sink_new(void) {
    struct recording_sink *recording = malloc(sizeof(*recording));
    if (recording == NULL) {
        abort();
    }
    recording->sink = (struct trace_sink){"recording", recording_write, recording};
    recording->used = 0;
    recording->writes = 0;
    recording->bytes[0] = '\0';
    return recording;
}

const char *recording_sink_body(const struct recording_sink *recording, size_t index) {
    static char body[TRACE_LINE_BYTES];
    const char *line = recording->bytes;
    const char *end = strchr(line, '\n');
    while (index > 0 && end != NULL) {
        line = end + 1;
        end = strchr(line, '\n');
        index--;
    }
    body[0] = '\0';
    if (end != NULL && (size_t)(end - line) > TRAILER_BYTES) {
        size_t length = (size_t)(end - line) - TRAILER_BYTES;
        memcpy(body, line, length);
        body[length] = '\0';
    }
    return body;
}

size_t recording_sink_records(const struct recording_sink *recording) {
    size_t records = 0;
    for (size_t i = 0; i < recording->used; i++) {
        records += recording->bytes[i] == '\n';
    }
    return records;
}
