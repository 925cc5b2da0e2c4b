/** The kernel's own reading of the page tables, at both depths. */
#include "support/cmocka_test.h"

#include <stdlib.h>
#include <string.h>

#include "../../kernel/tables.h"
#include "trace/crc32.h"
#include "trace/paging.h"

#define POOL_PHYS UINT64_C(0x4000000)
#define POOL_PAGES 16u
#define FRAME UINT64_C(0x5200000)
#define TABLE_BITS (ENTRY_PRESENT | ENTRY_WRITABLE)
#define HIGH UINT64_C(0xffffffff80001000)

/* A pool of tables at an address of the host, and the boot info that speaks of it. */
struct fixture {
    struct handoff handoff;
    uint64_t (*pool)[PAGE_ENTRIES];
    unsigned used;
};

static uint64_t page_phys(unsigned page) {
    return POOL_PHYS + page * PAGE_BYTES;
}

static void fixture_init(struct fixture *fixture, unsigned levels) {
    memset(fixture, 0, sizeof(*fixture));
    fixture->pool = aligned_alloc(PAGE_BYTES, POOL_PAGES * PAGE_BYTES);
    assert_non_null(fixture->pool);
    memset(fixture->pool, 0, POOL_PAGES * PAGE_BYTES);
    fixture->used = 1;
    fixture->handoff.levels = levels;
    fixture->handoff.root_phys = POOL_PHYS;
    fixture->handoff.recursive_slot = HANDOFF_RECURSIVE_SLOT;
    fixture->handoff.tables = (struct handoff_range){(uint64_t)(uintptr_t)fixture->pool, POOL_PHYS,
                                                     POOL_PAGES * PAGE_BYTES};
    fixture->pool[0][HANDOFF_RECURSIVE_SLOT] = POOL_PHYS | TABLE_BITS | ENTRY_NO_EXECUTE;
}

static void fixture_free(struct fixture *fixture) {
    free(fixture->pool);
}

/* The entry of this level for virt; tables on the way are made. */
static uint64_t *entry_at(struct fixture *fixture, uint64_t virt, unsigned level) {
    uint64_t *table = fixture->pool[0];
    for (unsigned at = fixture->handoff.levels; at > level; at--) {
        uint64_t *entry = &table[level_index(virt, at)];
        if (*entry == 0) {
            *entry = page_phys(fixture->used++) | TABLE_BITS;
        }
        table = fixture->pool[((*entry & ENTRY_FRAME_MASK) - POOL_PHYS) / PAGE_BYTES];
    }
    return &table[level_index(virt, level)];
}

static void with_both_depths(void (*check)(struct fixture *fixture)) {
    for (unsigned levels = 4; levels <= 5; levels++) {
        struct fixture fixture;
        fixture_init(&fixture, levels);
        check(&fixture);
        fixture_free(&fixture);
    }
}

static void translate_each_page_size(struct fixture *fixture) {
    for (unsigned level = 1; level <= 3; level++) {
        uint64_t virt = HIGH + PAGE_BYTES - level * level_bytes(3); /* bit 12 is clear */
        uint64_t frame = UINT64_C(1) << 36;
        uint64_t not_of_the_frame = level > 1 ? ENTRY_LARGE | ENTRY_PAT_LARGE : ENTRY_PAT_4K;
        *entry_at(fixture, virt, level) = frame | ENTRY_PRESENT | not_of_the_frame;
        struct tables_translation found;
        assert_true(tables_translate(&fixture->handoff, virt + 0xabc, &found));
        assert_int_equal(found.phys, frame + ((virt + 0xabc) & (level_bytes(level) - 1)));
        assert_false(found.writable);
        assert_true(found.executable);
        assert_false(found.user);
    }
}

static void translation_knows_every_page_size(void **state) {
    (void)state;
    with_both_depths(translate_each_page_size);
}

static void combine_rights(struct fixture *fixture) {
    uint64_t all = ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_USER;
    struct tables_translation found;
    *entry_at(fixture, HIGH, 1) = FRAME | all;
    for (unsigned level = 2; level <= fixture->handoff.levels; level++) {
        *entry_at(fixture, HIGH, level) |= all;
    }
    for (unsigned level = 1; level <= fixture->handoff.levels; level++) {
        uint64_t *entry = entry_at(fixture, HIGH, level);
        uint64_t before = *entry;
        assert_true(tables_translate(&fixture->handoff, HIGH, &found));
        assert_true(found.writable && found.executable && found.user);
        *entry = (before & ~(ENTRY_WRITABLE | ENTRY_USER)) | ENTRY_NO_EXECUTE;
        assert_true(tables_translate(&fixture->handoff, HIGH, &found));
        assert_false(found.writable || found.executable || found.user);
        *entry = before & ~ENTRY_PRESENT;
        assert_false(tables_translate(&fixture->handoff, HIGH, &found));
        *entry = before;
    }
}

static void every_level_has_a_veto(void **state) {
    (void)state;
    with_both_depths(combine_rights);
}

struct seen {
    unsigned tables, leaves;
    struct tables_node leaf;
};

static bool see(void *context, const struct tables_node *node) {
    struct seen *seen = context;
    if (node->table != NULL) {
        seen->tables++;
    } else {
        seen->leaves++;
        seen->leaf = *node;
    }
    return true;
}

static void walk_one_leaf(struct fixture *fixture) {
    *entry_at(fixture, HIGH, 1) = FRAME | ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_NO_EXECUTE;
    struct seen seen = {0};
    assert_int_equal(tables_walk(&fixture->handoff, see, &seen), TABLES_WALKED);
    assert_int_equal(seen.tables, fixture->handoff.levels);
    assert_int_equal(seen.leaves, 1);
    assert_int_equal(seen.leaf.virt, HIGH);
    assert_int_equal(seen.leaf.level, 1);
    assert_true(seen.leaf.writable);
    assert_false(seen.leaf.executable);
}

static void walk_meets_tables_and_leaves_but_not_the_recursive_slot(void **state) {
    (void)state;
    with_both_depths(walk_one_leaf);
}

static void walk_with_vetoes(struct fixture *fixture) {
    *entry_at(fixture, HIGH, 1) = FRAME | ENTRY_PRESENT | ENTRY_WRITABLE;
    for (unsigned level = 1; level <= fixture->handoff.levels; level++) {
        uint64_t *entry = entry_at(fixture, HIGH, level);
        uint64_t before = *entry;
        struct seen seen = {0};
        assert_int_equal(tables_walk(&fixture->handoff, see, &seen), TABLES_WALKED);
        assert_true(seen.leaf.writable && seen.leaf.executable);
        *entry = (before & ~ENTRY_WRITABLE) | ENTRY_NO_EXECUTE;
        assert_int_equal(tables_walk(&fixture->handoff, see, &seen), TABLES_WALKED);
        assert_false(seen.leaf.writable || seen.leaf.executable);
        *entry = before;
    }
}

static void walk_combines_rights_over_all_levels(void **state) {
    (void)state;
    with_both_depths(walk_with_vetoes);
}

static void walk_astray(struct fixture *fixture) {
    struct seen seen = {0};
    fixture->pool[0][300] = (POOL_PHYS - PAGE_BYTES) | TABLE_BITS;
    assert_int_equal(tables_walk(&fixture->handoff, see, &seen), TABLES_OUTSIDE);
    fixture->pool[0][300] = page_phys(POOL_PAGES) | TABLE_BITS;
    assert_int_equal(tables_walk(&fixture->handoff, see, &seen), TABLES_OUTSIDE);
}

static void table_outside_the_pool_ends_the_walk(void **state) {
    (void)state;
    with_both_depths(walk_astray);
}

static void walk_in_circles(struct fixture *fixture) {
    struct seen seen = {0};
    for (unsigned index = 0; index < HANDOFF_RECURSIVE_SLOT; index++) {
        fixture->pool[0][index] = POOL_PHYS | TABLE_BITS;
    }
    assert_int_equal(tables_walk(&fixture->handoff, see, &seen), TABLES_ENDLESS);
    assert_true(seen.tables <= POOL_PAGES);
}

static void cycle_ends_the_walk(void **state) {
    (void)state;
    with_both_depths(walk_in_circles);
}

/* As a CPU would read the window: through the tables, where every level but the last is a table. */
static const uint64_t *read_window(const struct handoff *handoff, uint64_t window) {
    uint64_t phys = handoff->root_phys;
    for (unsigned level = handoff->levels; level > 0; level--) {
        phys = tables_page(handoff, phys)[level_index(window, level)] & ENTRY_FRAME_MASK;
    }
    return tables_page(handoff, phys);
}

struct window_check {
    const struct handoff *handoff;
    unsigned tables;
};

static bool window_shows(void *context, const struct tables_node *node) {
    struct window_check *check = context;
    if (node->table != NULL) {
        uint64_t window = tables_window(check->handoff, node->virt, node->level);
        assert_true(virt_is_canonical(window, check->handoff->levels));
        assert_int_equal(window % PAGE_BYTES, 0);
        assert_ptr_equal(read_window(check->handoff, window), node->table);
        check->tables++;
    }
    return true;
}

static void see_tables_through_window(struct fixture *fixture) {
    *entry_at(fixture, HIGH, 1) = FRAME | ENTRY_PRESENT;
    *entry_at(fixture, HANDOFF_STACKS_VIRT, 1) = FRAME | ENTRY_PRESENT;
    *entry_at(fixture, 0x100000, 1) = FRAME | ENTRY_PRESENT;
    struct window_check check = {&fixture->handoff, 0};
    assert_int_equal(tables_walk(&fixture->handoff, window_shows, &check), TABLES_WALKED);
    assert_int_equal(check.tables, fixture->used);
}

static void recursive_window_leads_to_every_table(void **state) {
    (void)state;
    with_both_depths(see_tables_through_window);
}

static void ignore_accessed_and_dirty(struct fixture *fixture) {
    uint64_t *entry = entry_at(fixture, HIGH, 1);
    *entry = FRAME | ENTRY_PRESENT;
    uint32_t crc = tables_crc(&fixture->handoff);
    assert_int_equal(crc, crc32_update(0, fixture->pool, POOL_PAGES * PAGE_BYTES));
    *entry |= ENTRY_ACCESSED | ENTRY_DIRTY;
    assert_int_equal(tables_crc(&fixture->handoff), crc);
    *entry |= ENTRY_WRITABLE;
    assert_int_not_equal(tables_crc(&fixture->handoff), crc);
}

static void checksum_covers_all_but_accessed_and_dirty(void **state) {
    (void)state;
    with_both_depths(ignore_accessed_and_dirty);
}

static void only_whole_pages_of_the_pool_are_tables(void **state) {
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture, 4);
    assert_ptr_equal(tables_page(&fixture.handoff, page_phys(POOL_PAGES - 1)),
                     fixture.pool[POOL_PAGES - 1]);
    assert_null(tables_page(&fixture.handoff, page_phys(POOL_PAGES)));
    assert_null(tables_page(&fixture.handoff, POOL_PHYS - PAGE_BYTES));
    assert_null(tables_page(&fixture.handoff, POOL_PHYS + 8));
    fixture.handoff.tables.bytes = 0;
    assert_null(tables_page(&fixture.handoff, POOL_PHYS));
    fixture_free(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(translation_knows_every_page_size),
        cmocka_unit_test(every_level_has_a_veto),
        cmocka_unit_test(walk_meets_tables_and_leaves_but_not_the_recursive_slot),
        cmocka_unit_test(walk_combines_rights_over_all_levels),
        cmocka_unit_test(table_outside_the_pool_ends_the_walk),
        cmocka_unit_test(cycle_ends_the_walk),
        cmocka_unit_test(recursive_window_leads_to_every_table),
        cmocka_unit_test(checksum_covers_all_but_accessed_and_dirty),
        cmocka_unit_test(only_whole_pages_of_the_pool_are_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
