#include "space/page_table.h"

#include <stddef.h>

/* Rights are decided at the leaf: upper levels allow all that supervisor code may do. */
#define TABLE_BITS (ENTRY_PRESENT | ENTRY_WRITABLE)

static unsigned leaf_level(uint64_t page_bytes) {
    return page_bytes == level_bytes(3) ? 3 : page_bytes == level_bytes(2) ? 2 : 1;
}

enum page_table_status page_table_create(struct page_table *table) {
    if (!table->allocate(table->context, &table->root_phys)) {
        return PAGE_TABLE_NO_MEMORY;
    }
    table->on_table(table->context, table->root_phys, table->levels, 0);
    return PAGE_TABLE_OK;
}

/* Goes down to the entry of `level`, making the tables that are missing. */
static enum page_table_status reach(struct page_table *table, uint64_t virt, unsigned level,
                                    uint64_t **entry_ret) {
    uint64_t phys = table->root_phys;
    for (unsigned at = table->levels;; at--) {
        unsigned index = level_index(virt, at);
        uint64_t *entry = &table->entries(table->context, phys)[index];
        if (at == level) {
            *entry_ret = entry;
            return PAGE_TABLE_OK;
        }
        if ((*entry & ENTRY_PRESENT) == 0) {
            uint64_t below;
            if (!table->allocate(table->context, &below)) {
                return PAGE_TABLE_NO_MEMORY;
            }
            *entry = below | TABLE_BITS;
            table->on_table(table->context, below, at - 1, phys + index * sizeof(uint64_t));
        } else if (entry_is_leaf(*entry, at)) {
            return PAGE_TABLE_ALREADY_MAPPED;
        }
        phys = *entry & ENTRY_FRAME_MASK;
    }
}

enum page_table_status page_table_map(struct page_table *table, const struct page_range *range,
                                      uint64_t *failed_virt_ret) {
    unsigned level = leaf_level(range->page_bytes);
    uint64_t low_bits = range->page_bytes - 1;
    *failed_virt_ret = range->virt;
    if (((range->virt | range->phys | (range->last + 1)) & low_bits) != 0) {
        return PAGE_TABLE_MISALIGNED;
    }
    /* Both ends may be canonical and the hole, or the end of all addresses, between them. */
    if (!virt_is_canonical(range->virt, table->levels) ||
        !virt_is_canonical(range->last, table->levels) || range->last < range->virt ||
        range->virt >> 63 != range->last >> 63) {
        return PAGE_TABLE_NOT_CANONICAL;
    }
    uint64_t leaf_bits = range->leaf_bits | ENTRY_PRESENT | (level > 1 ? ENTRY_LARGE : 0);
    uint64_t pages = ((range->last - range->virt) >> level_shift(level)) + 1;
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t offset = i << level_shift(level);
        uint64_t *entry = NULL;
        enum page_table_status status = reach(table, range->virt + offset, level, &entry);
        if (status == PAGE_TABLE_OK && (*entry & ENTRY_PRESENT) != 0) {
            status = PAGE_TABLE_ALREADY_MAPPED;
        }
        if (status != PAGE_TABLE_OK) {
            *failed_virt_ret = range->virt + offset;
            return status;
        }
        *entry = (range->phys + offset) | leaf_bits;
    }
    return PAGE_TABLE_OK;
}

uint64_t *page_table_entry(const struct page_table *table, uint64_t virt, unsigned level,
                           uint64_t *entry_phys_ret) {
    uint64_t phys = table->root_phys;
    for (unsigned at = table->levels;; at--) {
        unsigned index = level_index(virt, at);
        uint64_t *entry = &table->entries(table->context, phys)[index];
        if (at == level) {
            if (entry_phys_ret != NULL) {
                *entry_phys_ret = phys + index * sizeof(uint64_t);
            }
            return entry;
        }
        if ((*entry & ENTRY_PRESENT) == 0 || entry_is_leaf(*entry, at)) {
            return NULL;
        }
        phys = *entry & ENTRY_FRAME_MASK;
    }
}
