/** The lossless page-table dump: kinds `dump`, `d`, `dump-end` (docs/trace-format.md, "The dump stream"). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "trace/physical_memory.h"
#include "trace/trace.h"

enum dump_status {
    DUMP_OK = 0,
    DUMP_UNREADABLE = 1, /* whole, but some table page could not be read; the stream says which */
    DUMP_SCRATCH_FULL = 2, /* more tables than the scratch holds: no dump-end is written, an `error` record is */
};

/**
 * Dumps every table page reachable from root_phys (CR3 with its flag bits is accepted).
 *
 * scratch: scratch_words 64-bit words owned by the caller, overwritten; two words for each (page, level) pair
 * that the walk meets are enough (a 512 GiB map of 2 MiB pages meets 1028).
 */
enum dump_status __attribute__((warn_unused_result))
dump_write(struct trace *trace, const char *id, uint64_t cr3, unsigned levels,
           const struct physical_memory *memory, uint64_t *scratch, size_t scratch_words);

/** Bytes of a descriptor table or of code: kinds `memory`, `d`, `memory-end`. planes == 0: verbatim. */
void memory_write(struct trace *trace, const char *name, const char *when, uint64_t virt,
                  const void *bytes, size_t count, unsigned planes);
