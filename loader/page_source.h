/** Where pages of memory come from: the firmware, or a test. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "trace/message.h"

struct page_source {
    /**
     * `pages` contiguous zeroed pages of EfiLoaderData. On failure *phys_ret is untouched and `why`
     * names `what` and the number of the allocation.
     */
    bool (*allocate)(void *context, const char *what, uint64_t pages, uint64_t *phys_ret,
                     struct message *why);
    /** The same; all of them end at or below `limit`. */
    bool (*allocate_below)(void *context, const char *what, uint64_t pages, uint64_t limit,
                           uint64_t *phys_ret, struct message *why);
    void *context;
};
