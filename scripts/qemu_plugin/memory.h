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
    struct values *values; /* NULL where none are kept */
    const uint64_t *words; /* the guest's own, where QEMU lets us look at them; else NULL */
    uint64_t is_looked_for;
};

/** Return the page of a physical address; NULL if none can be kept of it. */
struct page_at *memory_page(uint64_t phys);

/** Prepare the index of pages; 0 if there is no room for it. */
int memory_begin(void);

/** Record a store that left `stored` in a word of a page. */
static inline void memory_note(const struct page_at *page, uint64_t word, uint32_t store,
                               struct stored stored) {
    struct values *values = page->values;

    __atomic_store_n(&page->stores[word], store, __ATOMIC_RELAXED);
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
