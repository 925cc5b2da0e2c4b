/** Physical memory as a request has it, read without a fault; and which tables a walk met. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trace/physical_memory.h"
#include "trace/preflight.h"
#include "trace/switch.h"

#define TABLE_READER_STRAYS 64u

struct table_reader {
    const struct cr3scope_request *request;
    struct paging_state current; /* the tables in force, through which memory is read */
    /* Pages outside the caller's pool that were read as tables while `notes`. */
    uint64_t strays[TABLE_READER_STRAYS];
    size_t stray_count; /* further ones are dropped */
    bool notes;
    bool known_only; /* nothing but the pool and the strays */
};

void table_reader_init(struct table_reader *reader_ret, const struct cr3scope_request *request,
                       const struct paging_state *current);
struct physical_memory table_reader_memory(struct table_reader *reader);
/** Whether the page at phys is in the pool. */
bool table_reader_owns(const struct table_reader *reader, uint64_t phys);
/** Whether bytes at virt can be written now, under the tables in force. */
bool table_reader_takes(struct table_reader *reader, uint64_t virt, uint64_t bytes);
/** Whether bytes at virt can be read now, under the tables in force. phys_ret: of the first one; it
 * may be NULL. */
bool table_reader_reaches(struct table_reader *reader, uint64_t virt, uint64_t bytes,
                          uint64_t *phys_ret);
