#include "tables.h"

#include <stddef.h>

#include "trace/crc32.h"
#include "trace/paging.h"

#define ACCESSED_DIRTY (ENTRY_ACCESSED | ENTRY_DIRTY)

const char *tables_status_text(enum tables_status status) {
    switch (status) {
    case TABLES_OUTSIDE:
        return "a table page is outside the pool";
    case TABLES_ENDLESS:
        return "more tables than the pool has pages";
    case TABLES_WALKED:
    case TABLES_STOPPED:
    default:
        return "";
    }
}

const uint64_t *tables_page(const struct handoff *handoff, uint64_t phys) {
    const struct handoff_range *pool = &handoff->tables;
    if (phys % PAGE_BYTES != 0 || phys < pool->phys || pool->bytes < PAGE_BYTES ||
        phys - pool->phys > pool->bytes - PAGE_BYTES) {
        return NULL;
    }
    return (const uint64_t *)(uintptr_t)(pool->virt + (phys - pool->phys));
}

static const uint64_t *page_of_context(void *context, uint64_t phys) {
    return tables_page(context, phys);
}

struct physical_memory tables_memory(const struct handoff *handoff) {
    return (struct physical_memory){page_of_context, (void *)(uintptr_t)handoff};
}

/* Sign extension from the top bit that the levels translate. */
static uint64_t canonical(uint64_t virt, unsigned levels) {
    unsigned unused = 64 - level_shift(levels + 1);
    return (uint64_t)((int64_t)(virt << unused) >> unused);
}

struct walk {
    const struct handoff *handoff;
    tables_visitor *visit;
    void *context;
    uint64_t
        budget; /* tables that may still be met: a healthy tree meets each page of the pool once */
};

static enum tables_status walk_table(struct walk *walk, const struct tables_node *node);

static enum tables_status walk_entry(struct walk *walk, const struct tables_node *node,
                                     unsigned index) {
    uint64_t entry = node->table[index];
    bool is_root = node->level == walk->handoff->levels;
    if ((entry & ENTRY_PRESENT) == 0 || (is_root && index == walk->handoff->recursive_slot)) {
        return TABLES_WALKED;
    }
    uint64_t virt = node->virt + ((uint64_t)index << level_shift(node->level));
    struct tables_node child = {
        .virt = canonical(virt, walk->handoff->levels),
        .level = node->level,
        .entry = entry,
        .table = NULL,
        .writable = node->writable && (entry & ENTRY_WRITABLE) != 0,
        .executable = node->executable && (entry & ENTRY_NO_EXECUTE) == 0,
    };
    if (entry_is_leaf(entry, node->level)) {
        return walk->visit(walk->context, &child) ? TABLES_WALKED : TABLES_STOPPED;
    }
    child.level--;
    child.entry = entry & ENTRY_FRAME_MASK;
    child.table = tables_page(walk->handoff, child.entry);
    return walk_table(walk, &child);
}

/* Recursion is as deep as there are levels. */
static enum tables_status walk_table(struct walk *walk, const struct tables_node *node) {
    if (node->table == NULL) {
        return TABLES_OUTSIDE;
    }
    if (walk->budget == 0) {
        return TABLES_ENDLESS;
    }
    walk->budget--;
    if (!walk->visit(walk->context, node)) {
        return TABLES_STOPPED;
    }
    enum tables_status status = TABLES_WALKED;
    for (unsigned index = 0; index < PAGE_ENTRIES && status == TABLES_WALKED; index++) {
        status = walk_entry(walk, node, index);
    }
    return status;
}

enum tables_status tables_walk(const struct handoff *handoff, tables_visitor *visit,
                               void *context) {
    struct walk walk = {handoff, visit, context, handoff->tables.bytes / PAGE_BYTES};
    const struct tables_node root = {
        .virt = 0,
        .level = handoff->levels,
        .entry = handoff->root_phys,
        .table = tables_page(handoff, handoff->root_phys),
        .writable = true,
        .executable = true,
    };
    return walk_table(&walk, &root);
}

bool tables_translate(const struct handoff *handoff, uint64_t virt,
                      struct tables_translation *translation_ret) {
    struct tables_translation found = {handoff->root_phys, true, true, true};
    for (unsigned level = handoff->levels; level > 0; level--) {
        const uint64_t *table = tables_page(handoff, found.phys);
        uint64_t entry = table == NULL ? 0 : table[level_index(virt, level)];
        if ((entry & ENTRY_PRESENT) == 0) {
            return false;
        }
        found.writable = found.writable && (entry & ENTRY_WRITABLE) != 0;
        found.executable = found.executable && (entry & ENTRY_NO_EXECUTE) == 0;
        found.user = found.user && (entry & ENTRY_USER) != 0;
        found.phys = entry & ENTRY_FRAME_MASK;
        if (entry_is_leaf(entry, level)) {
            uint64_t within = level_bytes(level) - 1;
            found.phys = (found.phys & ~within) | (virt & within);
            break;
        }
    }
    *translation_ret = found;
    return true;
}

uint32_t tables_crc(const struct handoff *handoff) {
    const uint64_t *entries = (const uint64_t *)(uintptr_t)handoff->tables.virt;
    uint32_t crc = 0;
    for (uint64_t i = 0; i < handoff->tables.bytes / sizeof(*entries); i++) {
        uint64_t entry = entries[i] & ~ACCESSED_DIRTY;
        crc = crc32_update(crc, &entry, sizeof(entry));
    }
    return crc;
}

/*
 * Each pass through the recursive slot uses up one level: a table of level n is seen after n
 * passes, so the address is virt's indices moved down by n levels, with the slot n times above
 * them.
 */
uint64_t tables_window(const struct handoff *handoff, uint64_t virt, unsigned level) {
    uint64_t translated = virt & ((UINT64_C(1) << level_shift(handoff->levels + 1)) - 1);
    uint64_t window = (translated >> (9 * level)) & ~(PAGE_BYTES - 1);
    for (unsigned pass = 0; pass < level; pass++) {
        window |= (uint64_t)handoff->recursive_slot << level_shift(handoff->levels - pass);
    }
    return canonical(window, handoff->levels);
}
