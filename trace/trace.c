#include "trace/trace.h"

#include "trace/crc32.h"
#include "base64.h"

#define SENTINEL_AND_VERSION TRACE_SENTINEL "1 "
/* What stands after the fields: " #", eight digits, LF. */
#define TRAILER_BYTES 11u
#define FIELDS_END (TRACE_LINE_BYTES - TRAILER_BYTES)
/* Of an `error` record: what its later fields may take, with the space and the key of each. */
#define ERROR_STATUS_ROOM 24u
#define ERROR_WHAT_ROOM 200u

static const char digits[] = "0123456789abcdef";
static const char cut_mark[] = "...";

void trace_init(struct trace *trace) {
    const struct trace_position start = {0};
    trace_resume(trace, &start);
}

void trace_resume(struct trace *trace, const struct trace_position *position) {
    trace->sink_count = 0;
    trace->position = *position;
    trace->length = 0;
    trace->list = TRACE_LIST_CLOSED;
    trace->overflow = false;
}

bool trace_add_sink(struct trace *trace, const struct trace_sink *sink) {
    if (trace->sink_count == TRACE_MAX_SINKS) {
        return false;
    }
    trace->sinks[trace->sink_count++] = sink;
    return true;
}

static bool put(struct trace *trace, char character) {
    if (trace->length >= FIELDS_END) {
        return false;
    }
    trace->line[trace->length++] = character;
    return true;
}

static bool put_literal(struct trace *trace, const char *text) {
    while (*text != '\0' && put(trace, *text)) {
        text++;
    }
    return *text == '\0';
}

static bool put_hex(struct trace *trace, uint64_t value) {
    unsigned shift = 60;
    while (shift > 0 && value >> shift == 0) {
        shift -= 4;
    }
    while (put(trace, digits[(value >> shift) & 15])) {
        if (shift == 0) {
            return true;
        }
        shift -= 4;
    }
    return false;
}

static bool needs_escape(unsigned char byte) {
    return byte < 0x21 || byte > 0x7e || byte == '%' || byte == '#' || byte == '@' || byte == '=' ||
           byte == ',';
}

static bool put_text(struct trace *trace, const char *text) {
    for (; text != NULL && *text != '\0'; text++) {
        unsigned char byte = (unsigned char)*text;
        bool fits = needs_escape(byte) ? put(trace, '%') && put(trace, digits[byte >> 4]) &&
                                             put(trace, digits[byte & 15])
                                       : put(trace, *text);
        if (!fits) {
            return false;
        }
    }
    return true;
}

static bool put_key(struct trace *trace, const char *key) {
    trace->list = TRACE_LIST_CLOSED;
    return put(trace, ' ') && put_literal(trace, key) && put(trace, '=');
}

/* Takes back a field of which only a part fitted. */
static void drop_field(struct trace *trace, size_t start) {
    trace->length = start;
    trace->overflow = true;
}

void trace_open(struct trace *trace, const char *kind) {
    trace->length = 0;
    trace->list = TRACE_LIST_CLOSED;
    bool fits = put_literal(trace, SENTINEL_AND_VERSION) &&
                put_hex(trace, trace->position.sequence) && put(trace, ' ') &&
                put_literal(trace, kind);
    trace->overflow = !fits;
}

void trace_hex(struct trace *trace, const char *key, uint64_t value) {
    size_t start = trace->length;
    if (!(put_key(trace, key) && put_hex(trace, value))) {
        drop_field(trace, start);
    }
}

void trace_text(struct trace *trace, const char *key, const char *text) {
    size_t start = trace->length;
    if (!(put_key(trace, key) && put_text(trace, text))) {
        drop_field(trace, start);
    }
}

size_t trace_data_room(const struct trace *trace, const char *key) {
    size_t used = trace->length + 2; /* the space and the '=' */
    while (*key++ != '\0') {
        used++;
    }
    return used < FIELDS_END ? base64_capacity(FIELDS_END - used) : 0;
}

void trace_data(struct trace *trace, const char *key, const void *bytes, size_t count) {
    size_t start = trace->length;
    if (count > trace_data_room(trace, key) || !put_key(trace, key)) {
        drop_field(trace, start);
        return;
    }
    base64_encode(trace->line + trace->length, bytes, count);
    trace->length += base64_length(count);
}

void trace_list(struct trace *trace, const char *key) {
    size_t start = trace->length;
    if (!put_key(trace, key)) {
        drop_field(trace, start);
        return;
    }
    trace->list = TRACE_LIST_EMPTY;
}

bool trace_item(struct trace *trace, const char *text) {
    size_t start = trace->length;
    if (trace->list == TRACE_LIST_CLOSED) {
        return false;
    }
    if (!((trace->list == TRACE_LIST_EMPTY || put(trace, ',')) && put_text(trace, text))) {
        trace->length = start;
        return false;
    }
    trace->list = TRACE_LIST_FILLED;
    return true;
}

/* Ends the line with its checksum and LF, for which every field has left room. */
static void seal(struct trace *trace) {
    trace->line[trace->length++] = ' ';
    uint32_t crc = crc32_update(0, trace->line, trace->length);
    trace->line[trace->length++] = '#';
    for (unsigned shift = 32; shift > 0; shift -= 4) {
        trace->line[trace->length++] = digits[(crc >> (shift - 4)) & 15];
    }
    trace->line[trace->length++] = '\n';
}

void trace_close(struct trace *trace) {
    seal(trace);
    trace->position.crc = crc32_update(trace->position.crc, trace->line, trace->length);
    trace->position.bytes += trace->length;
    trace->position.sequence++;
    for (size_t i = 0; i < trace->sink_count; i++) {
        trace->sinks[i]->write(trace->sinks[i]->context, trace->line, trace->length);
    }
}

void trace_close_sink(struct trace *trace, const struct trace_sink *sink) {
    for (size_t i = 0; i < trace->sink_count; i++) {
        if (trace->sinks[i] != sink) {
            continue;
        }
        trace_open(trace, "close");
        trace_text(trace, "sink", sink->name);
        seal(trace);
        sink->write(sink->context, trace->line, trace->length);
        trace->sinks[i] = trace->sinks[--trace->sink_count];
        return;
    }
}

void trace_begin(struct trace *trace, const char *producer, const char *version) {
    trace->position = (struct trace_position){0};
    trace_open(trace, "begin");
    trace_text(trace, "producer", producer);
    trace_text(trace, "version", version);
    trace_close(trace);
}

void trace_section(struct trace *trace, const char *producer) {
    trace_open(trace, "section");
    trace_text(trace, "producer", producer);
    trace_close(trace);
}

void trace_end(struct trace *trace, const char *producer, const char *next) {
    const struct trace_position before = trace->position;
    trace_open(trace, "end");
    trace_text(trace, "producer", producer);
    trace_hex(trace, "records", before.sequence);
    trace_hex(trace, "bytes", before.bytes);
    trace_hex(trace, "crc", before.crc);
    trace_text(trace, "next", next);
    trace_close(trace);
}

static size_t escaped_length(const char *text) {
    size_t length = 0;
    for (; text != NULL && *text != '\0'; text++) {
        length += needs_escape((unsigned char)*text) ? 3 : 1;
    }
    return length;
}

/* A text that leaves `room` bytes of the record behind it: of a longer one the end is lost. */
static void cut_text(struct trace *trace, const char *key, const char *text, size_t room) {
    size_t start = trace->length, end = FIELDS_END - room;
    if (!put_key(trace, key)) {
        drop_field(trace, start);
        return;
    }
    bool is_cut = escaped_length(text) > end - trace->length;
    end -= is_cut ? sizeof(cut_mark) - 1 : 0;
    for (; text != NULL && *text != '\0'; text++) {
        const char byte[] = {*text, '\0'};
        if (escaped_length(byte) > end - trace->length) {
            break;
        }
        (void)put_text(trace, byte);
    }
    (void)(is_cut && put_literal(trace, cut_mark));
}

void trace_error(struct trace *trace, const char *where, const char *what, uint64_t status) {
    trace_open(trace, "error");
    cut_text(trace, "where", where, ERROR_WHAT_ROOM + ERROR_STATUS_ROOM);
    cut_text(trace, "what", what, ERROR_STATUS_ROOM);
    if (status != 0) {
        trace_hex(trace, "status", status);
    }
    trace_close(trace);
}
