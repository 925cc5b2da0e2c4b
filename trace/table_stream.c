#include "table_stream.h"

#include "trace/paging.h"
#include "words.h"

enum operation {
    OPERATION_END = 0x00,
    OPERATION_TABLE = 0x01,
    OPERATION_REPEAT = 0x02,
    OPERATION_VERBATIM = 0x03,
    OPERATION_UNREADABLE = 0x04,
};

#define ACCESSED_SHIFT 5u
#define ACCESSED_DIRTY (ENTRY_ACCESSED | ENTRY_DIRTY)

void table_stream_init(struct table_stream *stream, struct data_stream *out) {
    __builtin_memset(stream, 0, sizeof(*stream));
    stream->out = out;
}

/* NX, bit 63, comes to bit 0: entries that differ in it stay near one another. */
static uint64_t entry_value(const void *context, size_t index) {
    const uint64_t *entries = (const uint64_t *)context;
    uint64_t entry = entries[index] & ~ACCESSED_DIRTY;
    return entry << 1 | entry >> 63;
}

static unsigned accessed_dirty(uint64_t entry) {
    return (unsigned)((entry & ACCESSED_DIRTY) >> ACCESSED_SHIFT);
}

static void encode_accessed_dirty(struct data_stream *out, const uint64_t *entries) {
    for (size_t start = 0; start < PAGE_ENTRIES;) {
        unsigned bits = accessed_dirty(entries[start]);
        size_t end = start + 1;
        while (end < PAGE_ENTRIES && accessed_dirty(entries[end]) == bits) {
            end++;
        }
        data_stream_varint(out, (uint64_t)(end - start) << 2 | bits);
        start = end;
    }
}

static void encode_entries(struct data_stream *out, const uint64_t *entries) {
    const struct word_plane values = {entry_value, entries, PAGE_ENTRIES};
    words_encode(out, &values);
    encode_accessed_dirty(out, entries);
}

static uint64_t encoded_bytes(const uint64_t *entries) {
    struct data_stream counter;
    data_stream_init(&counter, NULL);
    encode_entries(&counter, entries);
    return counter.count;
}

static void encode_verbatim(struct data_stream *out, const uint64_t *entries) {
    for (size_t i = 0; i < PAGE_ENTRIES; i++) {
        for (unsigned shift = 0; shift < 64; shift += 8) {
            data_stream_byte(out, (uint8_t)(entries[i] >> shift));
        }
    }
}

static void write_pending_repeats(struct table_stream *stream) {
    if (stream->repeats == 0) {
        return;
    }
    data_stream_byte(stream->out, OPERATION_REPEAT);
    data_stream_varint(stream->out, stream->repeats);
    data_stream_difference(stream->out, stream->page_step);
    data_stream_difference(stream->out, stream->value_step);
    stream->repeats = 0;
}

/* Whether `entries` are `last` with one number added to every present entry; if so, which. */
static bool is_repeat(const uint64_t *last, const uint64_t *entries, uint64_t *step_ret) {
    uint64_t step = 0;
    bool step_known = false;
    for (size_t i = 0; i < PAGE_ENTRIES; i++) {
        uint64_t difference = entries[i] - last[i];
        if ((last[i] & ENTRY_PRESENT) == 0) {
            if (difference != 0) {
                return false;
            }
        } else if (!step_known) {
            step = difference;
            step_known = true;
        } else if (difference != step) {
            return false;
        }
    }
    *step_ret = step;
    return true;
}

static void write_head(struct table_stream *stream, enum operation operation, uint64_t page,
                       unsigned level) {
    write_pending_repeats(stream);
    data_stream_byte(stream->out, (uint8_t)operation);
    data_stream_difference(stream->out, page - stream->last_page - 1);
    data_stream_byte(stream->out, (uint8_t)level);
}

static void write_table(struct table_stream *stream, uint64_t page, unsigned level,
                        const uint64_t *entries) {
    if (encoded_bytes(entries) > PAGE_BYTES) {
        write_head(stream, OPERATION_VERBATIM, page, level);
        encode_verbatim(stream->out, entries);
    } else {
        write_head(stream, OPERATION_TABLE, page, level);
        encode_entries(stream->out, entries);
    }
}

static void remember(struct table_stream *stream, uint64_t page, unsigned level,
                     const uint64_t *entries) {
    stream->last_page = page;
    stream->last_level = level;
    stream->last = entries;
    stream->pages++;
}

void table_stream_put(struct table_stream *stream, uint64_t phys, unsigned level,
                      const uint64_t *entries) {
    uint64_t page = phys / PAGE_BYTES;
    uint64_t value_step = 0;
    if (stream->last != NULL && stream->last_level == level &&
        is_repeat(stream->last, entries, &value_step)) {
        uint64_t page_step = page - stream->last_page;
        if (page_step != stream->page_step || value_step != stream->value_step) {
            write_pending_repeats(stream);
        }
        stream->page_step = page_step;
        stream->value_step = value_step;
        stream->repeats++;
    } else {
        write_table(stream, page, level, entries);
    }
    remember(stream, page, level, entries);
}

void table_stream_put_unreadable(struct table_stream *stream, uint64_t phys, unsigned level) {
    uint64_t page = phys / PAGE_BYTES;
    write_head(stream, OPERATION_UNREADABLE, page, level);
    remember(stream, page, level, NULL);
}

void table_stream_end(struct table_stream *stream) {
    write_pending_repeats(stream);
    data_stream_byte(stream->out, OPERATION_END);
    data_stream_flush(stream->out);
}
