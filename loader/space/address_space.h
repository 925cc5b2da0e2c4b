/**
 * The new address space: every range goes in through one call, which builds, traces, and remembers
 * who asked.
 *
 * Pure but for the trace: memory comes from a pool that the caller owns.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "trace/message.h"
#include "space/page_table.h"
#include "trace/physical_memory.h"
#include "trace/switch.h"
#include "trace/trace.h"

#define LARGE_PAGE_BYTES (UINT64_C(2) << 20)

#define RIGHT_READ 1u
#define RIGHT_WRITE 2u
#define RIGHT_EXECUTE 4u

enum memory_type { MEMORY_WRITE_BACK = 0, MEMORY_WRITE_COMBINING, MEMORY_UNCACHED_MINUS };

/** A request to map bytes from phys at virt. All multiples of 4 KiB; bytes > 0. */
struct mapping {
    const char *name; /* of this range, for people */
    const char *role; /* docs/trace-format.md, "Roles" */
    uint64_t virt;
    uint64_t bytes;
    uint64_t phys;
    unsigned rights; /* RIGHT_* */
    enum memory_type type;
    unsigned largest_level; /* of its leaves, where virt and phys allow: 2 is 2 MiB; 0: 4 KiB */
};

#define MAPPED_RANGES 64u

/** What is mapped, for who tells of an exception; further ranges are not noted. */
struct mapped_ranges {
    struct cr3scope_range ranges[MAPPED_RANGES];
    struct message names[MAPPED_RANGES];
    size_t count;
};

struct address_space {
    struct page_table table;
    struct trace *trace;
    /** May change a request before it is mapped, or leave it out (false). NULL: nobody does. */
    bool (*adjust)(const void *context, struct mapping *mapping);
    const void *adjust_context;
    uint64_t pool_phys;
    uint64_t pool_pages;
    uint64_t pool_used;
    bool has_no_execute;      /* the CPU knows bit 63 */
    unsigned write_combining; /* PAT index that holds WC; 0: none, uncached is used */
    uint64_t caller;          /* return address of the call that is under way */
    struct mapped_ranges mapped;
};

/**
 * Empty tables of `levels` levels with the recursive slot, in a pool of zeroed pages that must be
 * reachable at its physical address. trace and adjust_context must outlive it.
 */
bool address_space_create(struct address_space *space, unsigned levels, uint64_t pool_phys,
                          uint64_t pool_pages, struct message *why)
    __attribute__((warn_unused_result));

/** Maps, and writes a `map` record for each page size. False: `why` names the range and the cause.
 */
bool address_space_map(struct address_space *space, const struct mapping *mapping,
                       struct message *why) __attribute__((warn_unused_result));

/** Names a range that stays unmapped on purpose (`region` record). */
void address_space_region(struct address_space *space, const char *name, const char *role,
                          uint64_t virt, uint64_t bytes);

/** Overwrites the entry of `level` for virt (`set` record). Nothing if a higher level has none. */
void address_space_set(struct address_space *space, uint64_t virt, unsigned level, uint64_t value);

/** The first address that the recursive slot translates: the window's base. */
uint64_t address_space_recursive_virt(const struct address_space *space);

/** The entry of `level` for virt, 0 if there is none. */
uint64_t address_space_get(const struct address_space *space, uint64_t virt, unsigned level);
