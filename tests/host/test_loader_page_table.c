/** Page tables of 4 and 5 levels with pages of every size, checked by a walk that is written apart
 * from the code under test. */
#include "support/cmocka_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "space/page_table.h"
#include "support/fake_memory.h"

#define FIRST_TABLE UINT64_C(0x100000)
#define UNLIMITED 1000u
#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

struct told {
    uint64_t phys, parent_phys;
    unsigned level;
};

struct fixture {
    struct page_table table;
    struct fake_memory *memory;
    unsigned allocated, available;
    struct told told[UNLIMITED];
    unsigned told_count;
};

static bool allocate(void *context, uint64_t *phys_ret) {
    struct fixture *fixture = context;
    if (fixture->allocated == fixture->available) {
        return false;
    }
    *phys_ret = FIRST_TABLE + fixture->allocated++ * PAGE_BYTES;
    (void)fake_memory_page(fixture->memory, *phys_ret);
    return true;
}

static uint64_t *entries(void *context, uint64_t phys) {
    struct fixture *fixture = context;
    assert_true(phys >= FIRST_TABLE && phys < FIRST_TABLE + fixture->allocated * PAGE_BYTES);
    return fake_memory_page(fixture->memory, phys);
}

static void on_table(void *context, uint64_t phys, unsigned level, uint64_t parent_phys) {
    struct fixture *fixture = context;
    fixture->told[fixture->told_count++] = (struct told){phys, parent_phys, level};
}

static struct fixture *create(unsigned levels, unsigned available) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    fixture->memory = fake_memory_new();
    fixture->available = available;
    fixture->table = (struct page_table){.levels = levels,
                                         .allocate = allocate,
                                         .entries = entries,
                                         .on_table = on_table,
                                         .context = fixture};
    return fixture;
}

static struct fixture *create_root(unsigned levels) {
    struct fixture *fixture = create(levels, UNLIMITED);
    assert_int_equal(page_table_create(&fixture->table), PAGE_TABLE_OK);
    return fixture;
}

static void destroy(struct fixture *fixture) {
    fake_memory_free(fixture->memory);
    free(fixture);
}

/* The manual's figure 5-8 by hand: nine bits an index from the top. 0 if nothing is mapped. */
static uint64_t naive_walk(struct fixture *fixture, uint64_t virt, uint64_t *phys_ret) {
    uint64_t table = fixture->table.root_phys;
    unsigned shift = fixture->table.levels == 5 ? 48 : 39;
    for (;;) {
        uint64_t entry = fake_memory_page(fixture->memory, table)[virt >> shift & 0x1ff];
        if ((entry & 1) == 0) {
            return 0;
        }
        if (shift == 12 || (shift <= 30 && (entry & 0x80) != 0)) {
            uint64_t frame = entry & UINT64_C(0x000ffffffffff000) & ~((UINT64_C(1) << shift) - 1);
            *phys_ret = frame | (virt & ((UINT64_C(1) << shift) - 1));
            return entry;
        }
        /* Upper levels allow everything that the leaf may. */
        assert_int_equal(entry & ~UINT64_C(0x000ffffffffff000), 0x3);
        table = entry & UINT64_C(0x000ffffffffff000);
        shift -= 9;
    }
}

static enum page_table_status map(struct fixture *fixture, uint64_t virt, uint64_t bytes,
                                  uint64_t phys, uint64_t page_bytes, uint64_t *failed_ret) {
    const struct page_range range = {.virt = virt,
                                     .last = virt + bytes - 1,
                                     .phys = phys,
                                     .page_bytes = page_bytes,
                                     .leaf_bits = ENTRY_WRITABLE | ENTRY_NO_EXECUTE};
    return page_table_map(&fixture->table, &range, failed_ret);
}

static void assert_translates(struct fixture *fixture, uint64_t virt, uint64_t phys,
                              uint64_t page_bytes) {
    uint64_t found;
    uint64_t entry = naive_walk(fixture, virt, &found);
    assert_true(entry != 0);
    assert_int_equal(found, phys);
    uint64_t bits = entry & (page_bytes - 1);
    bits |= entry & UINT64_C(0xfff0000000000000);
    assert_int_equal(bits, ENTRY_NO_EXECUTE | ENTRY_WRITABLE | ENTRY_PRESENT |
                               (page_bytes > PAGE_BYTES ? ENTRY_LARGE : 0));
}

static void assert_unmapped(struct fixture *fixture, uint64_t virt) {
    uint64_t phys;
    assert_int_equal(naive_walk(fixture, virt, &phys), 0);
}

static void every_page_size_translates_at_both_depths(void **state) {
    (void)state;
    static const uint64_t starts[] = {0, 0x40000000, UINT64_C(0x00007fff80000000),
                                      UINT64_C(0xffff800000000000), UINT64_C(0xffffff7fc0000000)};
    static const uint64_t sizes[] = {4 * KIB, 2 * MIB, GIB};
    for (unsigned levels = 4; levels <= 5; levels++) {
        for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
            for (size_t k = 0; k < 3; k++) {
                struct fixture *fixture = create_root(levels);
                uint64_t virt = starts[i];
                uint64_t size = sizes[k];
                uint64_t phys = UINT64_C(0x1230000000000);
                uint64_t failed;
                assert_int_equal(map(fixture, virt, 2 * size, phys, size, &failed), PAGE_TABLE_OK);
                assert_translates(fixture, virt, phys, size);
                assert_translates(fixture, virt + size - 1, phys + size - 1, size);
                assert_translates(fixture, virt + size, phys + size, size);
                assert_translates(fixture, virt + 2 * size - 1, phys + 2 * size - 1, size);
                assert_unmapped(fixture, virt + 2 * size);
                assert_unmapped(fixture, virt - 1);
                destroy(fixture);
            }
        }
    }
}

static void ranges_at_random_translate_as_asked(void **state) {
    (void)state;
    uint64_t seed = 0x7ab1e;
    for (unsigned round = 0; round < 60; round++) {
        struct fixture *fixture = create_root(4 + round % 2);
        struct page_range mapped[12];
        unsigned count = 0;
        for (unsigned i = 0; i < 12; i++) {
            uint64_t random = fake_random(&seed);
            uint64_t size = random % 3 == 0 ? 4 * KIB : random % 3 == 1 ? 2 * MIB : GIB;
            unsigned top = fixture->table.levels == 5 ? 56 : 47;
            uint64_t virt = fake_random(&seed) & ((UINT64_C(1) << top) - 1) & ~(size - 1);
            virt |= random >> 63 != 0 ? ~UINT64_C(0) << top : 0;
            uint64_t phys = fake_random(&seed) & UINT64_C(0x0007ffffffffffff) & ~(size - 1);
            uint64_t bytes = (1 + random / 3 % 5) * size;
            uint64_t failed;
            if (virt + bytes - 1 >= virt &&
                virt_is_canonical(virt + bytes - 1, fixture->table.levels) &&
                map(fixture, virt, bytes, phys, size, &failed) == PAGE_TABLE_OK) {
                mapped[count++] = (struct page_range){virt, virt + bytes - 1, phys, size, 0};
            }
        }
        assert_true(count > 0);
        for (unsigned i = 0; i < count; i++) {
            for (unsigned probes = 0; probes < 8; probes++) {
                uint64_t offset = fake_random(&seed) % (mapped[i].last - mapped[i].virt + 1);
                assert_translates(fixture, mapped[i].virt + offset, mapped[i].phys + offset,
                                  mapped[i].page_bytes);
            }
        }
        destroy(fixture);
    }
}

static void last_page_of_all_addresses_can_be_mapped(void **state) {
    (void)state;
    struct fixture *fixture = create_root(4);
    uint64_t failed;
    assert_int_equal(map(fixture, UINT64_C(0xffffffffffffe000), 0x2000, 0x5000, 4 * KIB, &failed),
                     PAGE_TABLE_OK);
    assert_translates(fixture, UINT64_MAX, 0x6fff, 4 * KIB);
    destroy(fixture);
}

static void each_new_table_is_told_with_its_level_and_the_entry_that_points_to_it(void **state) {
    (void)state;
    struct fixture *fixture = create_root(5);
    uint64_t failed;
    uint64_t virt = UINT64_C(0xffffff0000201000);
    assert_int_equal(map(fixture, virt, 4 * KIB, 0x9000, 4 * KIB, &failed), PAGE_TABLE_OK);
    assert_int_equal(fixture->told_count, 5);
    assert_int_equal(fixture->told[0].phys, fixture->table.root_phys);
    assert_int_equal(fixture->told[0].level, 5);
    assert_int_equal(fixture->told[0].parent_phys, 0);
    for (unsigned i = 1; i < 5; i++) {
        const struct told *told = &fixture->told[i];
        unsigned level = 5 - i;
        uint64_t index = virt >> (12 + 9 * level) & 0x1ff;
        assert_int_equal(told->level, level);
        assert_int_equal(told->parent_phys, fixture->told[i - 1].phys + 8 * index);
        assert_int_equal(entries(fixture, told->parent_phys & ~UINT64_C(0xfff))[index],
                         told->phys | 3);
    }
    assert_int_equal(map(fixture, virt + 4 * KIB, 4 * KIB, 0xa000, 4 * KIB, &failed),
                     PAGE_TABLE_OK);
    assert_int_equal(fixture->told_count, 5);
    destroy(fixture);
}

static void misaligned_ranges_are_refused(void **state) {
    (void)state;
    static const uint64_t sizes[] = {4 * KIB, 2 * MIB, GIB};
    for (size_t i = 0; i < 3; i++) {
        struct fixture *fixture = create_root(4);
        uint64_t size = sizes[i];
        uint64_t half = size / 2;
        uint64_t failed = 0;
        assert_int_equal(map(fixture, GIB + half, size, 0, size, &failed), PAGE_TABLE_MISALIGNED);
        assert_int_equal(failed, GIB + half);
        assert_int_equal(map(fixture, GIB, size, half, size, &failed), PAGE_TABLE_MISALIGNED);
        assert_int_equal(map(fixture, GIB, half, 0, size, &failed), PAGE_TABLE_MISALIGNED);
        assert_int_equal(fixture->allocated, 1);
        destroy(fixture);
    }
}

static void addresses_in_the_hole_or_across_it_are_refused(void **state) {
    (void)state;
    for (unsigned levels = 4; levels <= 5; levels++) {
        struct fixture *fixture = create_root(levels);
        uint64_t hole = levels == 5 ? UINT64_C(1) << 56 : UINT64_C(1) << 47;
        uint64_t upper = -hole;
        uint64_t failed = 0;
        assert_int_equal(map(fixture, hole, 4 * KIB, 0, 4 * KIB, &failed),
                         PAGE_TABLE_NOT_CANONICAL);
        assert_int_equal(failed, hole);
        assert_int_equal(map(fixture, hole - 4 * KIB, 8 * KIB, 0, 4 * KIB, &failed),
                         PAGE_TABLE_NOT_CANONICAL);
        assert_int_equal(map(fixture, upper - 4 * KIB, 8 * KIB, 0, 4 * KIB, &failed),
                         PAGE_TABLE_NOT_CANONICAL);
        assert_int_equal(map(fixture, hole - 4 * KIB, upper - hole + 8 * KIB, 0, 4 * KIB, &failed),
                         PAGE_TABLE_NOT_CANONICAL);
        assert_int_equal(map(fixture, UINT64_C(0xfffffffffffff000), 8 * KIB, 0, 4 * KIB, &failed),
                         PAGE_TABLE_NOT_CANONICAL);
        assert_int_equal(fixture->allocated, 1);
        destroy(fixture);
    }
}

static void page_that_is_taken_is_refused_and_what_was_there_stays(void **state) {
    (void)state;
    struct fixture *fixture = create_root(4);
    uint64_t failed = 0;
    uint64_t small = 5 * GIB + 4 * KIB;
    assert_int_equal(map(fixture, small, 4 * KIB, 0x7000, 4 * KIB, &failed), PAGE_TABLE_OK);
    assert_int_equal(map(fixture, 6 * GIB, 2 * MIB, 0x200000, 2 * MIB, &failed), PAGE_TABLE_OK);

    assert_int_equal(map(fixture, 5 * GIB, 8 * KIB, 0x8000, 4 * KIB, &failed),
                     PAGE_TABLE_ALREADY_MAPPED);
    assert_int_equal(failed, small);
    assert_translates(fixture, 5 * GIB, 0x8000, 4 * KIB);
    assert_translates(fixture, small, 0x7000, 4 * KIB);

    /* A large page where a table is, and a small one inside a large one. */
    assert_int_equal(map(fixture, 5 * GIB, 2 * MIB, 0x200000, 2 * MIB, &failed),
                     PAGE_TABLE_ALREADY_MAPPED);
    assert_int_equal(map(fixture, 5 * GIB, GIB, GIB, GIB, &failed), PAGE_TABLE_ALREADY_MAPPED);
    assert_int_equal(map(fixture, 6 * GIB + 4 * KIB, 4 * KIB, 0, 4 * KIB, &failed),
                     PAGE_TABLE_ALREADY_MAPPED);
    assert_int_equal(failed, 6 * GIB + 4 * KIB);
    destroy(fixture);
}

static void allocator_that_runs_out_at_any_page_is_reported(void **state) {
    (void)state;
    for (unsigned levels = 4; levels <= 5; levels++) {
        struct fixture *none = create(levels, 0);
        assert_int_equal(page_table_create(&none->table), PAGE_TABLE_NO_MEMORY);
        assert_int_equal(none->told_count, 0);
        destroy(none);
        /* Two pages on both sides of a 512 GiB border: two chains of tables below the top. */
        unsigned needed = levels == 4 ? 1 + 6 : 1 + 1 + 6;
        uint64_t virt = 512 * GIB - 4 * KIB;
        for (unsigned available = 1; available <= needed; available++) {
            struct fixture *fixture = create(levels, available);
            uint64_t failed = 0;
            assert_int_equal(page_table_create(&fixture->table), PAGE_TABLE_OK);
            enum page_table_status status = map(fixture, virt, 8 * KIB, 0x3000, 4 * KIB, &failed);
            assert_int_equal(fixture->allocated, available);
            if (available == needed) {
                assert_int_equal(status, PAGE_TABLE_OK);
                assert_translates(fixture, virt + 4 * KIB, 0x4000, 4 * KIB);
            } else {
                assert_int_equal(status, PAGE_TABLE_NO_MEMORY);
                bool first_mapped = available >= needed - 3;
                assert_int_equal(failed, first_mapped ? virt + 4 * KIB : virt);
                assert_unmapped(fixture, virt + 4 * KIB);
            }
            destroy(fixture);
        }
    }
}

static void entry_of_every_level_is_found_until_the_leaf(void **state) {
    (void)state;
    struct fixture *fixture = create_root(4);
    uint64_t failed;
    uint64_t virt = 3 * GIB + 4 * MIB;
    uint64_t phys;
    assert_int_equal(map(fixture, virt, 2 * MIB, 0x600000, 2 * MIB, &failed), PAGE_TABLE_OK);
    for (unsigned level = 4; level >= 2; level--) {
        uint64_t *entry = page_table_entry(&fixture->table, virt, level, &phys);
        assert_non_null(entry);
        assert_int_equal(phys,
                         FIRST_TABLE + (4 - level) * PAGE_BYTES + 8 * level_index(virt, level));
        assert_ptr_equal(entry, &entries(fixture, phys & ~UINT64_C(0xfff))[phys % 4096 / 8]);
    }
    assert_int_equal(*page_table_entry(&fixture->table, virt, 2, NULL) & ENTRY_FRAME_MASK,
                     0x600000);
    assert_null(page_table_entry(&fixture->table, virt, 1, &phys));
    assert_non_null(page_table_entry(&fixture->table, 600 * GIB, 4, NULL));
    assert_null(page_table_entry(&fixture->table, 600 * GIB, 3, NULL));
    destroy(fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_page_size_translates_at_both_depths),
        cmocka_unit_test(ranges_at_random_translate_as_asked),
        cmocka_unit_test(last_page_of_all_addresses_can_be_mapped),
        cmocka_unit_test(each_new_table_is_told_with_its_level_and_the_entry_that_points_to_it),
        cmocka_unit_test(misaligned_ranges_are_refused),
        cmocka_unit_test(addresses_in_the_hole_or_across_it_are_refused),
        cmocka_unit_test(page_that_is_taken_is_refused_and_what_was_there_stays),
        cmocka_unit_test(allocator_that_runs_out_at_any_page_is_reported),
        cmocka_unit_test(entry_of_every_level_is_found_until_the_leaf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
