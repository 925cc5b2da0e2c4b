/** How the library reads physical memory: through the caller, who knows what is mapped where. */
#pragma once

#include <stdint.h>

struct physical_memory {
    /**
     * Returns a pointer to the 512 entries of the page at phys (4 KiB aligned), valid until the
     * next call, or NULL if that page is not readable memory. Must not fault.
     */
    const uint64_t *(*table)(void *context, uint64_t phys);
    void *context;
};
