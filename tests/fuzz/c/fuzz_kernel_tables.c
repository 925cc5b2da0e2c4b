/** The kernel's own walk over tables of any shape: it ends, and reads nothing but the pool. */
#include "../../../kernel/tables.h"
#include "take.h"
#include "target.h"
#include "trace/paging.h"

#define POOL_PHYS UINT64_C(0x4000000)
#define POOL_PAGES 8u

static _Alignas(4096) uint64_t pool[POOL_PAGES][PAGE_ENTRIES];
static size_t met;

static bool see(void *context, const struct tables_node *node) {
    const uint64_t *most = context;
    REQUIRE(node->level >= 1 && node->level <= 5);
    REQUIRE(node->table == NULL || (node->table >= pool[0] && node->table <= pool[POOL_PAGES - 1]));
    return ++met < *most;
}

/* Entries that lead into the pool, or are whatever the input says. */
static void fill(struct take *take) {
    memset(pool, 0, sizeof(pool));
    while (take->left > 0) {
        uint64_t how = take_number(take, 1);
        uint64_t *table = pool[how % POOL_PAGES];
        size_t index = take_number(take, 2) % PAGE_ENTRIES;
        uint64_t value = take_number(take, (how & 8) != 0 ? 8 : 2);
        if ((how & 8) == 0) {
            value = (POOL_PHYS + value % (POOL_PAGES + 1) * PAGE_BYTES) | value >> 8 |
                    (how & 0x10 ? ENTRY_PRESENT : 0);
        }
        size_t count = (how & 0x20) != 0 ? take_number(take, 1) + 1 : 1;
        for (size_t i = index; i < index + count && i < PAGE_ENTRIES; i++) {
            table[i] = value;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct take take = {data, size};
    struct handoff handoff = {
        .levels = 4 + (unsigned)take_number(&take, 1) % 2,
        .root_phys = POOL_PHYS,
        .recursive_slot = HANDOFF_RECURSIVE_SLOT,
        .tables = {(uint64_t)(uintptr_t)pool, POOL_PHYS, sizeof(pool)},
    };
    uint64_t virts[3] = {take_number(&take, 8), take_number(&take, 8), take_number(&take, 8)};
    uint64_t most = take_number(&take, 2);
    struct tables_translation found;
    fill(&take);
    size_t known = 0;
    met = 0;
    enum tables_status status = tables_walk(&handoff, see, &most);
    REQUIRE((*tables_status_text(status) == '\0') ==
            (status == TABLES_WALKED || status == TABLES_STOPPED));
    for (size_t i = 0; i < 3; i++) {
        known += tables_translate(&handoff, virts[i], &found);
        (void)tables_page(&handoff, virts[i]);
        for (unsigned level = 1; level <= handoff.levels; level++) {
            (void)tables_window(&handoff, virts[i], level);
        }
    }
    if (known == 3) { /* takes as long as all the rest */
        (void)tables_crc(&handoff);
    }
    return 0;
}
