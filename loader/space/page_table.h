/** Builds page tables of 4 or 5 levels. Pure: memory comes from the caller's callbacks. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "trace/paging.h"

enum page_table_status {
    PAGE_TABLE_OK = 0,
    PAGE_TABLE_NO_MEMORY,      /* the allocator has no page left */
    PAGE_TABLE_ALREADY_MAPPED, /* something is mapped there */
    PAGE_TABLE_MISALIGNED,     /* an address or the size is no multiple of the page size */
    PAGE_TABLE_NOT_CANONICAL,
};

/** One range: virt .. last, inclusive; all of it with pages of page_bytes (4 KiB, 2 MiB or 1 GiB).
 */
struct page_range {
    uint64_t virt;
    uint64_t last;
    uint64_t phys;
    uint64_t page_bytes;
    uint64_t leaf_bits; /* every bit of the leaf but the frame, P and PS */
};

struct page_table {
    uint64_t root_phys;
    unsigned levels;
    /** A page of memory of the caller's, its content zero; false if there is none left. */
    bool (*allocate)(void *context, uint64_t *phys_ret);
    /** Where the entries of a table at phys can be reached now. */
    uint64_t *(*entries)(void *context, uint64_t phys);
    /** Told of each new table; parent_phys: the entry that points to it, 0 for the root. */
    void (*on_table)(void *context, uint64_t phys, unsigned level, uint64_t parent_phys);
    void *context;
};

/** Allocates the root. The callbacks, context and levels must be set. */
enum page_table_status page_table_create(struct page_table *table)
    __attribute__((warn_unused_result));

/** Maps a range. What was mapped before a failure stays. *failed_virt_ret: where it failed. */
enum page_table_status page_table_map(struct page_table *table, const struct page_range *range,
                                      uint64_t *failed_virt_ret)
    __attribute__((warn_unused_result));

/**
 * Finds the entry of `level` that translates virt. NULL if a higher level has none (or a leaf).
 * *entry_phys_ret (may be NULL): its physical address.
 */
uint64_t *page_table_entry(const struct page_table *table, uint64_t virt, unsigned level,
                           uint64_t *entry_phys_ret);
