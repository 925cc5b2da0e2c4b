/** One kind of probe over every page of a range. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "probe.h"

/** First and last byte, both inclusive. */
struct virt_range {
    uint64_t first;
    uint64_t last;
};

/** The range of `bytes` > 0 bytes at virt. */
static inline struct virt_range virt_range(uint64_t virt, uint64_t bytes) {
    return (struct virt_range){virt, virt + (bytes - 1)};
}

/** Calls a `ret` on every page that has one; a fault there is the business of whatever IDT is
 * loaded. */
void pages_call(struct virt_range range);

/** Each page takes the access (PROBE_FETCH: only pages where a `ret` can be called). */
bool pages_succeed(struct virt_range range, enum probe_kind kind, struct text *detail_ret);
/**
 * On each page the access raises #PF with this error code. Of a range over 32 pages, 32 spread over
 * it with its first and last one; check_tables.c reads the rights of all.
 */
bool pages_fault(struct virt_range range, enum probe_kind kind, uint32_t error_code,
                 struct text *detail_ret);
