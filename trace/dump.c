#include "trace/dump.h"

#include "data_stream.h"
#include "table_queue.h"
#include "table_stream.h"
#include "trace/paging.h"

/* Copies the page at phys. False if it cannot be read. */
static bool read_table(const struct physical_memory *memory, uint64_t phys, uint64_t *copy_ret) {
    const uint64_t *entries = memory->table(memory->context, phys);
    if (entries == NULL) {
        return false;
    }
    for (size_t i = 0; i < PAGE_ENTRIES; i++) {
        copy_ret[i] = entries[i];
    }
    return true;
}

static bool add_children(struct table_queue *queue, const uint64_t *entries, unsigned level) {
    for (size_t i = 0; i < PAGE_ENTRIES; i++) {
        bool leads_on = (entries[i] & ENTRY_PRESENT) != 0 && !entry_is_leaf(entries[i], level);
        if (leads_on && !table_queue_add(queue, entries[i] & ENTRY_FRAME_MASK, level - 1)) {
            return false;
        }
    }
    return true;
}

/* Two tables are held at a time: the stream compares each with the one before it. */
static enum dump_status walk(struct table_queue *queue, struct table_stream *stream,
                             const struct physical_memory *memory, uint64_t *current,
                             uint64_t *previous) {
    enum dump_status status = DUMP_OK;
    struct table_visit visit;
    while (table_queue_take(queue, &visit)) {
        bool readable = read_table(memory, visit.phys, current);
        if (!readable) {
            status = DUMP_UNREADABLE;
        }
        if (readable && !add_children(queue, current, visit.level)) {
            return DUMP_SCRATCH_FULL;
        }
        if (readable) {
            table_stream_put(stream, visit.phys, visit.level, current);
            uint64_t *swap = current;
            current = previous;
            previous = swap;
        } else {
            table_stream_put_unreadable(stream, visit.phys, visit.level);
        }
    }
    return status;
}

bool dump_fits(uint64_t cr3, unsigned levels, const struct physical_memory *memory,
               uint64_t *scratch, size_t scratch_words) {
    struct table_queue queue;
    struct table_visit visit;
    if (scratch_words < DUMP_SCRATCH_WORDS(1)) {
        return false;
    }
    table_queue_init(&queue, scratch + 2 * PAGE_ENTRIES, scratch_words - 2 * PAGE_ENTRIES);
    if (!table_queue_add(&queue, cr3 & ENTRY_FRAME_MASK, levels)) {
        return false;
    }
    while (table_queue_take(&queue, &visit)) {
        if (read_table(memory, visit.phys, scratch) &&
            !add_children(&queue, scratch, visit.level)) {
            return false;
        }
    }
    return true;
}

enum dump_status dump_write(struct trace *trace, const char *id, uint64_t cr3, unsigned levels,
                            const struct physical_memory *memory, uint64_t *scratch,
                            size_t scratch_words) {
    trace_open(trace, "dump");
    trace_text(trace, "id", id);
    trace_hex(trace, "cr3", cr3);
    trace_hex(trace, "levels", levels);
    trace_close(trace);

    struct table_queue queue;
    struct data_stream data;
    struct table_stream stream;
    enum dump_status status = DUMP_SCRATCH_FULL;
    data_stream_init(&data, trace);
    table_stream_init(&stream, &data);
    if (scratch_words >= DUMP_SCRATCH_WORDS(1)) {
        uint64_t *queue_memory = scratch + 2 * PAGE_ENTRIES;
        table_queue_init(&queue, queue_memory, scratch_words - 2 * PAGE_ENTRIES);
        if (table_queue_add(&queue, cr3 & ENTRY_FRAME_MASK, levels)) {
            status = walk(&queue, &stream, memory, scratch, scratch + PAGE_ENTRIES);
        }
    }
    if (status == DUMP_SCRATCH_FULL) {
        data_stream_flush(&data);
        trace_error(trace, "dump", "more table pages than the scratch memory holds", 0);
        return status;
    }

    table_stream_end(&stream);
    trace_open(trace, "dump-end");
    trace_text(trace, "id", id);
    trace_hex(trace, "pages", stream.pages);
    trace_hex(trace, "bytes", data.count);
    trace_hex(trace, "crc", data.crc);
    trace_close(trace);
    return status;
}
