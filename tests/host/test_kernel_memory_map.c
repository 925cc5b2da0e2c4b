/** The kernel's judgement of the firmware's memory map. */
#include "support/cmocka_test.h"

#include <stdlib.h>
#include <string.h>

#include "../../kernel/memory_map.h"

#define STRIDE 48u
#define LOADER_DATA 2u
#define BOOT_SERVICES_DATA 4u
#define CONVENTIONAL 7u

struct row {
    uint32_t type;
    uint64_t phys;
    uint64_t pages;
};

/* A map of these rows in memory of exactly its size; freed by free_map. */
static struct memory_map make_map(const struct row *rows, size_t count) {
    unsigned char *bytes = calloc(count, STRIDE);
    assert_non_null(bytes);
    for (size_t i = 0; i < count; i++) {
        memcpy(bytes + i * STRIDE, &rows[i].type, 4);
        memcpy(bytes + i * STRIDE + 8, &rows[i].phys, 8);
        memcpy(bytes + i * STRIDE + 24, &rows[i].pages, 8);
    }
    return (struct memory_map){bytes, count * STRIDE, STRIDE};
}

static void free_map(struct memory_map map) {
    free((void *)(uintptr_t)map.bytes);
}

/* Not sorted, as firmware may leave it; a hole from 80000h to FFFFFh. */
static const struct row healthy[] = {
    {LOADER_DATA, 0x100000, 0x10},
    {CONVENTIONAL, 0, 0x80},
    {CONVENTIONAL, 0x110000, 0x100},
    {0x80000001u, 0x210000, 1},
};
#define HEALTHY_ROWS (sizeof(healthy) / sizeof(healthy[0]))

static bool is_sane(const struct row *rows, size_t count) {
    struct text detail;
    struct memory_map map = make_map(rows, count);
    bool sane = memory_map_is_sane(&map, &detail);
    free_map(map);
    return sane;
}

static bool is_sane_with(size_t index, struct row changed) {
    struct row rows[HEALTHY_ROWS];
    memcpy(rows, healthy, sizeof(rows));
    rows[index] = changed;
    return is_sane(rows, HEALTHY_ROWS);
}

static void healthy_map_is_sane(void **state) {
    (void)state;
    assert_true(is_sane(healthy, HEALTHY_ROWS));
}

static void stride_must_hold_a_descriptor_and_divide_the_map(void **state) {
    (void)state;
    struct text detail;
    struct memory_map map = make_map(healthy, HEALTHY_ROWS);
    const uint32_t bad[] = {0, 8, 32, 44, 49, 1u << 31};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct memory_map wrong = {map.bytes, map.used, bad[i]};
        assert_false(memory_map_is_sane(&wrong, &detail));
    }
    const struct row free_memory = {CONVENTIONAL, 0, 1};
    struct memory_map one = make_map(&free_memory, 1);
    one.used = one.stride = 44;
    assert_false(memory_map_is_sane(&one, &detail));
    one.used = one.stride = 40;
    assert_true(memory_map_is_sane(&one, &detail));
    free_map(one);
    struct memory_map empty = {map.bytes, 0, STRIDE};
    assert_false(memory_map_is_sane(&empty, &detail));
    struct memory_map ragged = {map.bytes, map.used - 8, STRIDE};
    assert_false(memory_map_is_sane(&ragged, &detail));
    free_map(map);
}

static void implausible_descriptor_is_refused(void **state) {
    (void)state;
    assert_false(is_sane_with(0, (struct row){16, 0x100000, 0x10}));
    assert_false(is_sane_with(0, (struct row){0x6fffffff, 0x100000, 0x10}));
    assert_false(is_sane_with(0, (struct row){LOADER_DATA, 0x100008, 0x10}));
    assert_false(is_sane_with(0, (struct row){LOADER_DATA, 0x100000, 0}));
    assert_false(is_sane_with(3, (struct row){LOADER_DATA, UINT64_C(1) << 52, 1}));
    assert_false(is_sane_with(3, (struct row){LOADER_DATA, 0x210000, UINT64_C(1) << 40}));
    assert_false(is_sane_with(3, (struct row){LOADER_DATA, 0x210000, UINT64_MAX}));
}

static void overlap_is_refused_whatever_the_order(void **state) {
    (void)state;
    assert_false(is_sane_with(0, (struct row){LOADER_DATA, 0x100000, 0x11}));
    assert_false(is_sane_with(2, (struct row){CONVENTIONAL, 0x10f000, 0x100}));
    assert_false(is_sane_with(3, (struct row){LOADER_DATA, 0x150000, 1}));
    assert_true(is_sane_with(3, (struct row){LOADER_DATA, 0x80000, 0x80}));
}

static void map_without_free_memory_is_refused(void **state) {
    (void)state;
    assert_false(is_sane(healthy, 1));
}

static bool keeps(const struct row *rows, size_t count, uint64_t phys, uint64_t bytes) {
    struct text detail;
    struct memory_map map = make_map(rows, count);
    const struct memory_owned owned = {"owned", phys, bytes};
    bool kept = memory_map_keeps(&map, &owned, &detail);
    free_map(map);
    return kept;
}

static void owned_range_must_lie_in_memory_that_is_kept(void **state) {
    (void)state;
    assert_true(keeps(healthy, HEALTHY_ROWS, 0x100000, 0x10000));
    assert_true(keeps(healthy, HEALTHY_ROWS, 0x100000, 0));
    assert_false(keeps(healthy, HEALTHY_ROWS, 0x100000, 0x10001)); /* a byte of free memory */
    assert_false(keeps(healthy, HEALTHY_ROWS, 0xfffff, 2));        /* a byte of the hole */
    assert_false(keeps(healthy, HEALTHY_ROWS, 0, 1));
    assert_false(keeps(healthy, HEALTHY_ROWS, UINT64_C(1) << 40, 1));
    assert_false(keeps(healthy, HEALTHY_ROWS, 0x100000, UINT64_MAX)); /* wraps around */
    assert_false(keeps(healthy, HEALTHY_ROWS, UINT64_MAX - 0xfff, 0x1000));
}

static void every_reclaimable_type_is_known(void **state) {
    (void)state;
    const uint32_t reclaimable[] = {1, 3, 4, 7};
    for (uint32_t type = 0; type <= 15; type++) {
        bool expected = true;
        for (size_t i = 0; i < sizeof(reclaimable) / sizeof(reclaimable[0]); i++) {
            expected = expected && type != reclaimable[i];
        }
        const struct row row = {type, 0x100000, 1};
        assert_int_equal(keeps(&row, 1, 0x100000, 0x1000), expected);
    }
}

static void owned_range_may_span_descriptors(void **state) {
    (void)state;
    struct row rows[] = {{LOADER_DATA, 0x1000, 1}, {LOADER_DATA, 0x2000, 1}};
    assert_true(keeps(rows, 2, 0x1000, 0x2000));
    rows[1].type = BOOT_SERVICES_DATA;
    assert_false(keeps(rows, 2, 0x1000, 0x2000));
}

static void ranges_overlap_if_they_share_a_page(void **state) {
    (void)state;
    const struct memory_owned one = {"one", 0x1000, 0x1001};
    const struct memory_owned same_page = {"same page", 0x2f00, 1};
    const struct memory_owned next_page = {"next page", 0x3000, 0x1000};
    const struct memory_owned none = {"none", 0x1000, 0};
    assert_true(memory_owned_overlap(&one, &same_page));
    assert_true(memory_owned_overlap(&same_page, &one));
    assert_false(memory_owned_overlap(&one, &next_page));
    assert_false(memory_owned_overlap(&next_page, &one));
    assert_false(memory_owned_overlap(&one, &none));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(healthy_map_is_sane),
        cmocka_unit_test(stride_must_hold_a_descriptor_and_divide_the_map),
        cmocka_unit_test(implausible_descriptor_is_refused),
        cmocka_unit_test(overlap_is_refused_whatever_the_order),
        cmocka_unit_test(map_without_free_memory_is_refused),
        cmocka_unit_test(owned_range_must_lie_in_memory_that_is_kept),
        cmocka_unit_test(every_reclaimable_type_is_known),
        cmocka_unit_test(owned_range_may_span_descriptors),
        cmocka_unit_test(ranges_overlap_if_they_share_a_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
