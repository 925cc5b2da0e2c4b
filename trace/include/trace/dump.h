/** The lossless page-table dump (docs/trace-format.md, "The dump stream"), and bytes of memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trace/physical_memory.h"
#include "trace/trace.h"

enum dump_status {
    DUMP_OK = 0,
    /** Whole, but some table page could not be read; the stream says which. */
    DUMP_UNREADABLE = 1,
    /** More tables than the scratch holds: no dump-end is written, an `error` record is. */
    DUMP_SCRATCH_FULL = 2,
};

/**
 * Scratch words for a walk over so many table pages: three for each, and room for two tables. (A
 * 512 GiB map of 2 MiB pages has 514; neither a recursive slot nor sharing adds any.)
 */
#define DUMP_SCRATCH_WORDS(pages) (2 * (size_t)512 + 3 * (size_t)(pages))

/**
 * Dumps every table page reachable from cr3 (its flag bits are accepted): kinds `dump`, `d`,
 * `dump-end`.
 *
 * scratch: scratch_words words owned by the caller, overwritten. memory->table is called between
 * the fields of a record, so it must not trace. Each page is copied before it is coded: a table
 * that the CPU marks accessed meanwhile is still written as it once was.
 */
enum dump_status dump_write(struct trace *trace, const char *id, uint64_t cr3, unsigned levels,
                            const struct physical_memory *memory, uint64_t *scratch,
                            size_t scratch_words) __attribute__((warn_unused_result));

/**
 * Whether a dump of all that is reachable from cr3 would fit such a scratch: nothing is written.
 * Tables with garbage in them lead anywhere.
 */
bool dump_fits(uint64_t cr3, unsigned levels, const struct physical_memory *memory,
               uint64_t *scratch, size_t scratch_words) __attribute__((warn_unused_result));

/**
 * Bytes of a descriptor table or of code: kinds `memory`, `d`, `memory-end`.
 *
 * planes: in how many interleaved planes of words the bytes are run-coded (an IDT: 2); 0: verbatim,
 * as it also is where coding would not make it shorter, and of fewer words than planes.
 */
void memory_write(struct trace *trace, const char *name, const char *when, uint64_t virt,
                  const void *bytes, size_t count, unsigned planes);
