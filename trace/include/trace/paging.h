/** Bits of x86-64 page-table entries and what a level covers (Intel SDM volume 3A, chapter 5). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PAGE_BYTES UINT64_C(4096)
#define PAGE_ENTRIES 512u

#define ENTRY_PRESENT (UINT64_C(1) << 0)
#define ENTRY_WRITABLE (UINT64_C(1) << 1)
#define ENTRY_USER (UINT64_C(1) << 2)
#define ENTRY_WRITE_THROUGH (UINT64_C(1) << 3)
#define ENTRY_CACHE_DISABLE (UINT64_C(1) << 4)
#define ENTRY_ACCESSED (UINT64_C(1) << 5)
#define ENTRY_DIRTY (UINT64_C(1) << 6)
#define ENTRY_LARGE (UINT64_C(1) << 7)  /* PS, at levels 2 and 3 */
#define ENTRY_PAT_4K (UINT64_C(1) << 7) /* PAT of a PTE */
#define ENTRY_GLOBAL (UINT64_C(1) << 8)
#define ENTRY_PAT_LARGE (UINT64_C(1) << 12) /* PAT of a 2 MiB or 1 GiB leaf */
#define ENTRY_NO_EXECUTE (UINT64_C(1) << 63)
#define ENTRY_FRAME_MASK UINT64_C(0x000ffffffffff000) /* 51:12 */

/** First address bit that a level indexes: 12 for a PT (level 1) up to 48 for a PML5 (level 5). */
static inline unsigned level_shift(unsigned level) {
    return 12u + 9u * (level - 1u);
}

/** Bytes that one entry of a level covers. */
static inline uint64_t level_bytes(unsigned level) {
    return UINT64_C(1) << level_shift(level);
}

static inline unsigned level_index(uint64_t virt, unsigned level) {
    return (unsigned)(virt >> level_shift(level)) & (PAGE_ENTRIES - 1u);
}

/** Whether a present entry of this level maps a page instead of pointing to a table. */
static inline bool entry_is_leaf(uint64_t entry, unsigned level) {
    return level == 1 || ((level == 2 || level == 3) && (entry & ENTRY_LARGE) != 0);
}

/** Canonical: bits 63:47 (4 levels) or 63:56 (5 levels) all equal (SDM volume 1, 3.3.7.1). */
static inline bool virt_is_canonical(uint64_t virt, unsigned levels) {
    unsigned top = level_shift(levels) + 8u;
    uint64_t high = virt >> top;
    return high == 0 || high == (~UINT64_C(0) >> top);
}
