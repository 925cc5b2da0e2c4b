/**
 * The page tables, read through the pool that the loader maps read-only, by the kernel's own code:
 * what the loader and the recursive window say is compared with this.
 *
 * Pure: everything comes from the boot info, so that it is tested on the host.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "handoff.h"
#include "trace/physical_memory.h"

/** One table page, or one leaf, as the walk meets it. */
struct tables_node {
    uint64_t virt;         /* first address that it covers, canonical */
    unsigned level;        /* of the table; of the table that holds the leaf */
    uint64_t entry;        /* a leaf's entry; a table's own physical address */
    const uint64_t *table; /* the 512 entries; NULL for a leaf */
    bool writable;         /* AND of R/W over the levels so far */
    bool executable;       /* no NX at any level so far */
};

/** False stops the walk. */
typedef bool tables_visitor(void *context, const struct tables_node *node);

enum tables_status {
    TABLES_WALKED = 0,
    TABLES_STOPPED = 1, /* by the visitor */
    TABLES_OUTSIDE = 2, /* a table page is not in the pool */
    TABLES_ENDLESS = 3, /* more tables than the pool has pages: shared, or a cycle */
};

/** Why a walk did not reach its end; "" if it did, or if the visitor stopped it. */
const char *tables_status_text(enum tables_status status);

/** Entries of the table page at phys, or NULL if it is not in the pool. */
const uint64_t *tables_page(const struct handoff *handoff, uint64_t phys);
/** The same as the dump wants it. */
struct physical_memory tables_memory(const struct handoff *handoff);

/** Visits every table and every leaf, but not what lies behind the recursive slot. */
enum tables_status tables_walk(const struct handoff *handoff, tables_visitor *visit, void *context)
    __attribute__((warn_unused_result));

/** What the tables make of one address, rights combined over all levels. */
struct tables_translation {
    uint64_t phys;
    bool writable;
    bool executable;
    bool user;
};

/** False: virt is mapped nowhere. */
bool tables_translate(const struct handoff *handoff, uint64_t virt,
                      struct tables_translation *translation_ret)
    __attribute__((warn_unused_result));
/** As struct handoff's tables_crc. */
uint32_t tables_crc(const struct handoff *handoff);

/** Where the recursive window shows the table of this level that covers virt. */
uint64_t tables_window(const struct handoff *handoff, uint64_t virt, unsigned level);
