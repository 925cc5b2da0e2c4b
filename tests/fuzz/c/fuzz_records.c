/** Records of any fields, with memory between them: whole lines; roundtrip.py reads them. */
#include "support/recording_sink.h"
#include "take.h"
#include "target.h"
#include "trace/dump.h"
#include "trace/sinks.h"

#define MOST_TEXT 700u

static struct recording_sink *recording;
static char close_record[TRACE_LINE_BYTES];

/* What memory was written, each piece behind its length. */
static uint8_t carried[1 << 17];
static size_t carried_bytes, carried_pieces;

static void carry(const void *bytes, size_t count) {
    uint32_t length = (uint32_t)count;
    if (carried_bytes + sizeof(length) + count > sizeof(carried)) {
        abort();
    }
    memcpy(carried + carried_bytes, &length, sizeof(length));
    memcpy(carried + carried_bytes + sizeof(length), bytes, count);
    carried_bytes += sizeof(length) + count;
}

static const char *take_text(struct take *take, char *text_ret) {
    size_t length = take_number(take, 2) % MOST_TEXT;
    length = length < take->left ? length : take->left;
    memcpy(text_ret, take->bytes, length);
    text_ret[length] = '\0';
    take->bytes += length;
    take->left -= length;
    return text_ret;
}

static void put_field(struct trace *trace, struct take *take, const char *key) {
    char text[MOST_TEXT];
    uint64_t kind = take_number(take, 1) % 5;
    if (kind == 0) {
        trace_hex(trace, key, take_number(take, 8));
    } else if (kind == 1) {
        trace_text(trace, key, take_text(take, text));
    } else if (kind == 2) {
        size_t count = take_number(take, 2) % TRACE_LINE_BYTES;
        count = count < take->left ? count : take->left;
        REQUIRE(trace_data_room(trace, key) <= TRACE_LINE_BYTES);
        trace_data(trace, key, take->bytes, count);
        take->bytes += count;
        take->left -= count;
    } else if (kind == 3) {
        trace_list(trace, key);
        for (uint64_t items = take_number(take, 1) % 40; items > 0; items--) {
            if (!trace_item(trace, take_text(take, text))) {
                break;
            }
        }
    } else {
        trace_text(trace, key, NULL);
    }
}

static void put_record(struct trace *trace, struct take *take) {
    static const char *const keys[] = {"a", "b", "c", "virt", "name_of_something"};
    uint64_t kind = take_number(take, 1) % 8;
    if (kind == 0) {
        size_t count = take_number(take, 2);
        uint64_t virt = take_number(take, 8);
        count = count < take->left ? count : take->left;
        char name[16];
        snprintf(name, sizeof(name), "m%zu", carried_pieces++);
        memory_write(trace, name, "handoff", virt, take->bytes, count, (unsigned)(virt % 4));
        carry(take->bytes, count);
        take->bytes += count;
        take->left -= count;
        return;
    }
    if (kind == 6) {
        char where[MOST_TEXT], what[MOST_TEXT];
        (void)take_text(take, where);
        (void)take_text(take, what);
        trace_error(trace, where, what, take_number(take, 8));
        REQUIRE(!trace->overflow);
        return;
    }
    trace_open(trace, "unheard-of");
    for (size_t i = 0; i < kind && i < sizeof(keys) / sizeof(keys[0]); i++) {
        put_field(trace, take, keys[i]);
    }
    if (kind != 7) { /* else it is forgotten, as an exception would have it */
        trace_close(trace);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct take take = {data, size};
    struct trace trace;
    struct buffer_sink closing;
    buffer_sink_init(&closing, close_record, sizeof(close_record));
    if (recording == NULL) {
        recording = recording_sink_new();
    }
    recording->used = 0;
    recording->bytes[0] = '\0';
    carried_bytes = carried_pieces = 0;
    trace_init(&trace);
    REQUIRE(trace_add_sink(&trace, &recording->sink));
    trace_begin(&trace, "fuzz", "1");
    while (take.left > 0) {
        put_record(&trace, &take);
    }
    trace_end(&trace, "fuzz", "none");
    struct trace more;
    trace_resume(&more, &trace.position);
    REQUIRE(trace_add_sink(&more, &closing.sink));
    trace_close_sink(&more, &closing.sink);
    REQUIRE(more.sink_count == 0 && more.position.bytes == recording->used);
    REQUIRE(closing.used > 0 && closing.used <= sizeof(close_record));
    REQUIRE(trace.position.bytes == recording->used);
    for (const char *line = recording->bytes; *line != '\0'; line = strchr(line, '\n') + 1) {
        REQUIRE(memcmp(line, "@c3s1 ", 6) == 0);
        REQUIRE(strchr(line, '\n') + 1 - line <= TRACE_LINE_BYTES);
    }
    if (target_listener != NULL) {
        target_listener(carried, carried_bytes, recording->bytes, recording->used);
    }
    return 0;
}
