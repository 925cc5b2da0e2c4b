/** A few pages of physical memory, filled as an input says: tables that may be anything. */
#pragma once

#include "take.h"
#include "trace/paging.h"
#include "trace/physical_memory.h"

#define PAGES_MOST 24u

struct page {
    uint64_t phys;
    uint64_t entries[PAGE_ENTRIES];
};

struct pages {
    size_t count;
    struct page pages[PAGES_MOST];
    uint64_t window[PAGE_ENTRIES]; /* what was read last; the read before it is gone */
};

/** Takes pages and entries off the input. The first page is a root. */
void pages_fill(struct pages *pages, struct take *take);
/** As the library wants it. */
struct physical_memory pages_memory(struct pages *pages);
