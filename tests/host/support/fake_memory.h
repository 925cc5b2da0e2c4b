/** Physical memory of a test: table pages at addresses of its choice, behind struct
 * physical_memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trace/paging.h"
#include "trace/physical_memory.h"

#define FAKE_MEMORY_PAGES 2048u

struct fake_page {
    uint64_t phys;
    uint64_t entries[PAGE_ENTRIES];
};

struct fake_memory {
    struct physical_memory physical; /* what the code under test is given */
    size_t count;
    struct fake_page *pages;       /* FAKE_MEMORY_PAGES of them */
    uint64_t window[PAGE_ENTRIES]; /* what was read last; the read before it is gone */
};

/** Without a page; owned by the caller. */
struct fake_memory *fake_memory_new(void);
void fake_memory_free(struct fake_memory *memory);
/** The 512 entries of the page, which is added and zeroed if it was not there. */
uint64_t *fake_memory_page(struct fake_memory *memory, uint64_t phys);

/** Pseudo-random numbers that are the same in every run (xorshift64*). seed: not 0. */
uint64_t fake_random(uint64_t *seed);
