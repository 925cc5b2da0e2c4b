/** The operations of the dump stream (docs/trace-format.md): table pages in the order of putting.
 */
#pragma once

#include <stdint.h>

#include "data_stream.h"

struct table_stream {
    struct data_stream *out;
    uint64_t last_page; /* page number of the last table put or repeated */
    unsigned last_level;
    const uint64_t *last; /* its entries; NULL if it was not readable or there is none */
    uint64_t repeats, page_step, value_step; /* operation 02 that is not written yet */
    uint64_t pages;
};

void table_stream_init(struct table_stream *stream, struct data_stream *out);
/** The 512 entries must stay as they are until the next table was put. */
void table_stream_put(struct table_stream *stream, uint64_t phys, unsigned level,
                      const uint64_t *entries);
void table_stream_put_unreadable(struct table_stream *stream, uint64_t phys, unsigned level);
void table_stream_end(struct table_stream *stream);
