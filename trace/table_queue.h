/**
 * The order of a breadth-first walk: which table pages are still to visit, and which were met.
 *
 * A page that is met at several levels (the recursive slot, shared tables) is visited once, at the
 * first. That loses no page: a breadth-first walk meets a page at its highest level first, and
 * there its entries lead to whatever they lead to at a lower one, since an entry that is no leaf at
 * a level is none at a higher one either.
 *
 * All memory is the caller's.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table_visit {
    uint64_t phys;
    unsigned level;
};

struct table_queue {
    uint64_t *visits; /* in order of meeting: page and level in one word */
    size_t capacity, added, taken;
    uint64_t *met; /* hash set of page numbers plus 1; 0: a free slot */
    size_t slots;
};

/** Uses `words` words of memory, three for each page that it is to hold. */
void table_queue_init(struct table_queue *queue, uint64_t *memory, size_t words);
/** Adds the page unless it was met already. False if there is no room for it. */
bool table_queue_add(struct table_queue *queue, uint64_t phys, unsigned level)
    __attribute__((warn_unused_result));
/** The next page in order. False if there is none. */
bool table_queue_take(struct table_queue *queue, struct table_visit *visit_ret)
    __attribute__((warn_unused_result));
