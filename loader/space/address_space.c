#include "space/address_space.h"

#include <stddef.h>

#include "handoff.h"

/* Memory is identity-mapped while the loader runs (UEFI specification, 2.3.4). */
static uint64_t *pool_entries(void *context, uint64_t phys) {
    (void)context;
    return (uint64_t *)(uintptr_t)phys;
}

static bool pool_allocate(void *context, uint64_t *phys_ret) {
    struct address_space *space = context;
    if (space->pool_used == space->pool_pages) {
        return false;
    }
    *phys_ret = space->pool_phys + space->pool_used++ * PAGE_BYTES;
    return true;
}

static void trace_table(void *context, uint64_t phys, unsigned level, uint64_t parent_phys) {
    struct address_space *space = context;
    trace_open(space->trace, "table");
    trace_hex(space->trace, "phys", phys);
    trace_hex(space->trace, "level", level);
    trace_hex(space->trace, "parent", parent_phys);
    trace_hex(space->trace, "caller", space->caller);
    trace_close(space->trace);
}

static bool refuse(const struct mapping *mapping, enum page_table_status status,
                   uint64_t failed_virt, struct message *why) {
    message_start(why, mapping->name);
    message_text(why, " at ");
    message_hex(why, failed_virt);
    switch (status) {
    case PAGE_TABLE_OK:
        break;
    case PAGE_TABLE_NO_MEMORY:
        message_text(why, ": the pool of page tables is used up");
        break;
    case PAGE_TABLE_ALREADY_MAPPED:
        message_text(why, ": something else is mapped there");
        break;
    case PAGE_TABLE_MISALIGNED:
        message_text(why, ": an address or the size is not page aligned");
        break;
    case PAGE_TABLE_NOT_CANONICAL:
        message_text(why, ": the address is not canonical");
        break;
    }
    return false;
}

static uint64_t leaf_bits(const struct address_space *space, const struct mapping *mapping,
                          uint64_t page_bytes) {
    uint64_t bits = 0;
    if ((mapping->rights & RIGHT_WRITE) != 0) {
        bits |= ENTRY_WRITABLE;
    }
    if ((mapping->rights & RIGHT_EXECUTE) == 0 && space->has_no_execute) {
        bits |= ENTRY_NO_EXECUTE;
    }
    /* PCD alone selects PAT entry 2, which is UC- unless somebody changed it (SDM 3A, 13.12.4). */
    unsigned index = mapping->type == MEMORY_WRITE_BACK ? 0
                     : mapping->type == MEMORY_WRITE_COMBINING && space->write_combining
                         ? space->write_combining
                         : 2;
    bits |= (index & 1) != 0 ? ENTRY_WRITE_THROUGH : 0;
    bits |= (index & 2) != 0 ? ENTRY_CACHE_DISABLE : 0;
    if ((index & 4) != 0) {
        bits |= page_bytes == PAGE_BYTES ? ENTRY_PAT_4K : ENTRY_PAT_LARGE;
    }
    return bits;
}

static void trace_map(struct address_space *space, const struct mapping *mapping,
                      const struct page_range *range) {
    const char rights[] = {(mapping->rights & RIGHT_READ) != 0 ? 'r' : '-',
                           (mapping->rights & RIGHT_WRITE) != 0 ? 'w' : '-',
                           (mapping->rights & RIGHT_EXECUTE) != 0 ? 'x' : '-', '\0'};
    bool combining = mapping->type == MEMORY_WRITE_COMBINING && space->write_combining != 0;
    trace_open(space->trace, "map");
    trace_text(space->trace, "name", mapping->name);
    trace_text(space->trace, "role", mapping->role);
    trace_hex(space->trace, "virt", range->virt);
    trace_hex(space->trace, "last", range->last);
    trace_hex(space->trace, "phys", range->phys);
    trace_text(space->trace, "rights", rights);
    trace_hex(space->trace, "size", range->page_bytes);
    trace_text(space->trace, "type",
               mapping->type == MEMORY_WRITE_BACK ? "wb"
               : combining                        ? "wc"
                                                  : "uc-");
    trace_hex(space->trace, "caller", space->caller);
    trace_close(space->trace);
}

static void note_range(struct mapped_ranges *mapped, const struct mapping *mapping,
                       const struct page_range *range, uint64_t caller) {
    if (mapped->count == MAPPED_RANGES) {
        return;
    }
    struct message *name = &mapped->names[mapped->count];
    message_start(name, mapping->name);
    mapped->ranges[mapped->count++] = (struct cr3scope_range){
        .name = name->text,
        .virt = range->virt,
        .bytes = range->last - range->virt + 1,
        .phys = range->phys,
        .rights = ((mapping->rights & RIGHT_READ) != 0 ? CR3SCOPE_READ : 0) |
                  ((mapping->rights & RIGHT_WRITE) != 0 ? CR3SCOPE_WRITE : 0) |
                  ((mapping->rights & RIGHT_EXECUTE) != 0 ? CR3SCOPE_EXECUTE : 0),
        .caller = caller,
    };
}

static bool map_pages(struct address_space *space, const struct mapping *mapping, uint64_t offset,
                      uint64_t bytes, uint64_t page_bytes, struct message *why) {
    if (bytes == 0) {
        return true;
    }
    struct page_range range = {
        .virt = mapping->virt + offset,
        .last = mapping->virt + offset + bytes - 1,
        .phys = mapping->phys + offset,
        .page_bytes = page_bytes,
        .leaf_bits = leaf_bits(space, mapping, page_bytes),
    };
    uint64_t failed_virt;
    enum page_table_status status = page_table_map(&space->table, &range, &failed_virt);
    if (status != PAGE_TABLE_OK) {
        return refuse(mapping, status, failed_virt, why);
    }
    trace_map(space, mapping, &range);
    note_range(&space->mapped, mapping, &range, space->caller);
    return true;
}

/* Pages there would be entries of the tables themselves. */
static bool meets_recursive_slot(const struct address_space *space, const struct mapping *mapping) {
    unsigned top = space->table.levels;
    return mapping->bytes > 0 && level_index(mapping->virt, top) <= HANDOFF_RECURSIVE_SLOT &&
           level_index(mapping->virt + mapping->bytes - 1, top) >= HANDOFF_RECURSIVE_SLOT;
}

/* Bytes of a mapping, from its start. */
struct part {
    uint64_t offset, bytes;
};

/* With leaves of `level` where they fit, with smaller ones before and behind. */
static bool map_level(struct address_space *space, const struct mapping *mapping, struct part part,
                      unsigned level, struct message *why) {
    uint64_t page = level_bytes(level);
    uint64_t virt = mapping->virt + part.offset;
    uint64_t head = -virt & (page - 1);
    if (level == 1) {
        return map_pages(space, mapping, part.offset, part.bytes, page, why);
    }
    bool congruent = ((mapping->virt ^ mapping->phys) & (page - 1)) == 0;
    if (!congruent || part.bytes < head + page) {
        return map_level(space, mapping, part, level - 1, why);
    }
    uint64_t middle = (part.bytes - head) & ~(page - 1);
    struct part tail = {part.offset + head + middle, part.bytes - head - middle};
    return map_level(space, mapping, (struct part){part.offset, head}, level - 1, why) &&
           map_pages(space, mapping, part.offset + head, middle, page, why) &&
           map_level(space, mapping, tail, level - 1, why);
}

/* noinline: the return address must be that of the code that wants the mapping. */
__attribute__((noinline)) bool
address_space_map(struct address_space *space, const struct mapping *mapping, struct message *why) {
    struct mapping wanted = *mapping;
    space->caller = (uint64_t)__builtin_return_address(0);
    if (space->adjust != NULL && !space->adjust(space->adjust_context, &wanted)) {
        return true;
    }
    if (meets_recursive_slot(space, &wanted)) {
        message_start(why, wanted.name);
        message_text(why, " at ");
        message_hex(why, wanted.virt);
        message_text(why, ": the recursive slot's window is there");
        return false;
    }
    unsigned level = wanted.largest_level > 1 ? wanted.largest_level : 1;
    return map_level(space, &wanted, (struct part){0, wanted.bytes}, level, why);
}

__attribute__((noinline)) bool address_space_create(struct address_space *space, unsigned levels,
                                                    uint64_t pool_phys, uint64_t pool_pages,
                                                    struct message *why) {
    space->caller = (uint64_t)__builtin_return_address(0);
    space->pool_phys = pool_phys;
    space->pool_pages = pool_pages;
    space->pool_used = 0;
    space->mapped.count = 0;
    space->table = (struct page_table){
        .levels = levels,
        .allocate = pool_allocate,
        .entries = pool_entries,
        .on_table = trace_table,
        .context = space,
    };
    if (page_table_create(&space->table) != PAGE_TABLE_OK) {
        message_start(why, "no page for the top table");
        return false;
    }
    address_space_set(space, address_space_recursive_virt(space), levels,
                      space->table.root_phys | ENTRY_PRESENT | ENTRY_WRITABLE |
                          (space->has_no_execute ? ENTRY_NO_EXECUTE : 0));
    return true;
}

/* The slot lies in the upper half: the bits above the top index are ones. */
uint64_t address_space_recursive_virt(const struct address_space *space) {
    unsigned levels = space->table.levels;
    return (uint64_t)HANDOFF_RECURSIVE_SLOT << level_shift(levels) |
           ~UINT64_C(0) << (level_shift(levels) + 9);
}

void address_space_region(struct address_space *space, const char *name, const char *role,
                          uint64_t virt, uint64_t bytes) {
    trace_open(space->trace, "region");
    trace_text(space->trace, "name", name);
    trace_text(space->trace, "role", role);
    trace_hex(space->trace, "virt", virt);
    trace_hex(space->trace, "last", virt + bytes - 1);
    trace_close(space->trace);
}

__attribute__((noinline)) void address_space_set(struct address_space *space, uint64_t virt,
                                                 unsigned level, uint64_t value) {
    uint64_t caller = (uint64_t)__builtin_return_address(0);
    uint64_t entry_phys;
    uint64_t *entry = page_table_entry(&space->table, virt, level, &entry_phys);
    if (entry == NULL) {
        return;
    }
    uint64_t old = *entry;
    *entry = value;
    trace_open(space->trace, "set");
    trace_hex(space->trace, "entry", entry_phys);
    trace_hex(space->trace, "level", level);
    trace_hex(space->trace, "index", level_index(virt, level));
    trace_hex(space->trace, "old", old);
    trace_hex(space->trace, "new", value);
    trace_hex(space->trace, "caller", caller);
    trace_close(space->trace);
}

uint64_t address_space_get(const struct address_space *space, uint64_t virt, unsigned level) {
    uint64_t *entry = page_table_entry(&space->table, virt, level, NULL);
    return entry == NULL ? 0 : *entry;
}
