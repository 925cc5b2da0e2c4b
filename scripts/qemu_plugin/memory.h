#pragma once

/** Who wrote each word of the guest's memory last. */

#include <stddef.h>
#include <stdint.h>

#include "layout.h"

/** A value that a store is known to have left in a whole word; `is_known` is 0 if it is not. */
struct stored {
    uint64_t value;
    int is_known;
};

/** Of a page of the guest's memory, all in memory of this process. */
struct page_at {
    uint32_t *stores;
    uint32_t *halves;      /* NULL as long as none are kept */
    struct values *values; /* NULL where none are kept */
    const uint64_t *words; /* the guest's own, where QEMU lets us look at them; else NULL */
    uint64_t is_looked_for;
};

/** Return the page of a physical address; NULL if none can be kept of it. */
struct page_at *memory_page(uint64_t phys);

/** Prepare the index of pages; 0 if there is no room for it. */
int memory_begin(void);

/** Return the slot of a store to `size` bytes of one word, the first of which is `at` of it. */
static inline uint32_t memory_slot(uint32_t store, uint64_t at, uint64_t size) {
    return store | (at >= 4 ? SLOT_HIGH : at + size <= 4 ? SLOT_LOW : 0);
}

/** Keep who wrote the half of a word that a store to the other one leaves as it is. */
void memory_keep_half(struct page_at *page, uint64_t word, uint32_t store);

/** Record a store, by its slot, that left `stored` in a word of a page. */
static inline void memory_note(struct page_at *page, uint64_t word, uint32_t slot,
                               struct stored stored) {
    struct values *values = page->values;
    const uint32_t halves = slot & ~SLOT_STORE;

    if (halves != 0) {
        const uint32_t old = __atomic_load_n(&page->stores[word], __ATOMIC_RELAXED);
        if (old != 0 && (old & ~SLOT_STORE) != halves) {
            if (__builtin_expect(page->halves != NULL, 1)) {
                __atomic_store_n(&page->halves[word], old & SLOT_STORE, __ATOMIC_RELAXED);
            } else {
                memory_keep_half(page, word, old & SLOT_STORE);
            }
        }
    }
    __atomic_store_n(&page->stores[word], slot, __ATOMIC_RELAXED);
    if (values == NULL) {
        return;
    }
    const uint64_t bit = UINT64_C(1) << (word % 64);
    const uint64_t had = values->has_after[word / 64] & bit;
    if (page->words != NULL) {
        stored = (struct stored){__atomic_load_n(page->words + word, __ATOMIC_RELAXED), 1};
    }
    values->before[word] = values->after[word];
    values->after[word] = stored.value;
    if (__builtin_expect(had == 0 || !stored.is_known || (values->has_before[word / 64] & bit) == 0,
                         0)) {
        values->has_before[word / 64] = (values->has_before[word / 64] & ~bit) | had;
        values->has_after[word / 64] =
            (values->has_after[word / 64] & ~bit) | (stored.is_known ? bit : 0);
    }
}
