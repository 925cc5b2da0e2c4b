/** The new address space: the recursive slot, page sizes, memory types, rights, and the records
 * that tell of each change. */
#include "support/cmocka_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handoff.h"
#include "inject/faults.h"
#include "space/address_space.h"
#include "support/recording_sink.h"

#define POOL_PAGES 64u
#define TABLE (ENTRY_PRESENT | ENTRY_WRITABLE)
#define VIRT UINT64_C(0xfffffd0000000000)
#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)

/* No fault is asked for by its name here. */
const struct fault fault_table[] = {{.id = "none"}};
const size_t fault_table_count = 0;

struct fixture {
    struct trace trace;
    struct recording_sink *recording;
    struct fault_set faults;
    struct address_space space;
    uint64_t *pool;
    struct message why;
};

static void create(struct fixture *fixture, unsigned levels, uint64_t pages) {
    memset(fixture->pool, 0, POOL_PAGES * PAGE_BYTES);
    assert_true(address_space_create(&fixture->space, levels, (uint64_t)fixture->pool, pages,
                                     &fixture->why));
}

static bool adjust_for_faults(const void *faults, struct mapping *mapping) {
    return faults_adjust_mapping(faults, mapping);
}

static int set_up(void **state) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    fixture->recording = recording_sink_new();
    fixture->pool = aligned_alloc(PAGE_BYTES, POOL_PAGES * PAGE_BYTES);
    assert_non_null(fixture->pool);
    trace_init(&fixture->trace);
    assert_true(trace_add_sink(&fixture->trace, &fixture->recording->sink));
    fixture->space.trace = &fixture->trace;
    fixture->space.adjust = adjust_for_faults;
    fixture->space.adjust_context = &fixture->faults;
    fixture->space.has_no_execute = true;
    fixture->space.write_combining = 4;
    create(fixture, 4, POOL_PAGES);
    *state = fixture;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *fixture = *state;
    free(fixture->recording);
    free(fixture->pool);
    free(fixture);
    return 0;
}

static bool map(struct fixture *fixture, uint64_t virt, uint64_t bytes, uint64_t phys,
                enum memory_type type, bool large) {
    return address_space_map(&fixture->space,
                             &(struct mapping){.name = "range",
                                               .role = "data",
                                               .virt = virt,
                                               .bytes = bytes,
                                               .phys = phys,
                                               .rights = RIGHT_READ | RIGHT_WRITE,
                                               .type = type,
                                               .largest_level = large ? 2 : 0},
                             &fixture->why);
}

/* The fields of the record before `caller`, which is a different address in every build. */
static const char *record(struct fixture *fixture, size_t index) {
    static char kept[TRACE_LINE_BYTES];
    const char *body = recording_sink_body(fixture->recording, index);
    const char *kind = strchr(body + strlen("@c3s1 "), ' ');
    assert_non_null(kind);
    const char *caller = strstr(kind, " caller=");
    size_t length = caller != NULL ? (size_t)(caller - kind) - 1 : strlen(kind + 1);
    memcpy(kept, kind + 1, length);
    kept[length] = '\0';
    return kept;
}

static uint64_t caller_of(struct fixture *fixture, size_t index) {
    const char *caller = strstr(recording_sink_body(fixture->recording, index), " caller=");
    assert_non_null(caller);
    return strtoull(caller + strlen(" caller="), NULL, 16);
}

static uint64_t leaf(struct fixture *fixture, uint64_t virt, unsigned level) {
    return address_space_get(&fixture->space, virt, level);
}

static void new_space_has_a_root_and_the_recursive_slot_and_nothing_else(void **state) {
    struct fixture *fixture = *state;
    for (unsigned levels = 4; levels <= 5; levels++) {
        create(fixture, levels, POOL_PAGES);
        assert_int_equal(fixture->space.table.root_phys, (uint64_t)fixture->pool);
        assert_int_equal(fixture->space.pool_used, 1);
        for (unsigned i = 0; i < PAGE_ENTRIES; i++) {
            uint64_t expected = i == HANDOFF_RECURSIVE_SLOT
                                    ? (uint64_t)fixture->pool | TABLE | ENTRY_NO_EXECUTE
                                    : 0;
            assert_int_equal(fixture->pool[i], expected);
        }
        char text[200];
        snprintf(text, sizeof(text), "table phys=%llx level=%u parent=0",
                 (unsigned long long)(uint64_t)fixture->pool, levels);
        assert_string_equal(record(fixture, (levels - 3) * 2), text);
        snprintf(text, sizeof(text), "set entry=%llx level=%u index=1fe old=0 new=%llx",
                 (unsigned long long)(uint64_t)&fixture->pool[510], levels,
                 (unsigned long long)fixture->pool[510]);
        assert_string_equal(record(fixture, (levels - 3) * 2 + 1), text);
    }
    fixture->space.has_no_execute = false;
    create(fixture, 4, POOL_PAGES);
    assert_int_equal(fixture->pool[510], (uint64_t)fixture->pool | TABLE);
}

static void space_without_a_page_is_refused(void **state) {
    struct fixture *fixture = *state;
    assert_false(
        address_space_create(&fixture->space, 4, (uint64_t)fixture->pool, 0, &fixture->why));
    assert_string_equal(fixture->why.text, "no page for the top table");
}

static void rights_become_bits_of_the_leaf(void **state) {
    struct fixture *fixture = *state;
    static const struct {
        unsigned rights;
        uint64_t bits;
    } cases[] = {
        {RIGHT_READ, ENTRY_PRESENT | ENTRY_NO_EXECUTE},
        {RIGHT_READ | RIGHT_WRITE, ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_NO_EXECUTE},
        {RIGHT_READ | RIGHT_EXECUTE, ENTRY_PRESENT},
        {RIGHT_READ | RIGHT_WRITE | RIGHT_EXECUTE, ENTRY_PRESENT | ENTRY_WRITABLE},
    };
    for (unsigned nx = 0; nx < 2; nx++) {
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            create(fixture, 4, POOL_PAGES);
            fixture->space.has_no_execute = nx != 0;
            assert_true(address_space_map(&fixture->space,
                                          &(struct mapping){.name = "n",
                                                            .role = "text",
                                                            .virt = VIRT,
                                                            .bytes = PAGE_BYTES,
                                                            .phys = 0x5000,
                                                            .rights = cases[i].rights},
                                          &fixture->why));
            uint64_t expected = 0x5000 | cases[i].bits;
            assert_int_equal(leaf(fixture, VIRT, 1),
                             nx != 0 ? expected : expected & ~ENTRY_NO_EXECUTE);
        }
    }
}

static void memory_types_become_pat_indexes_for_both_page_sizes(void **state) {
    struct fixture *fixture = *state;
    static const uint64_t base = ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_NO_EXECUTE;
    static const struct {
        enum memory_type type;
        unsigned write_combining;
        uint64_t small, large;
        const char *name;
    } cases[] = {
        {MEMORY_WRITE_BACK, 4, 0, 0, "wb"},
        {MEMORY_WRITE_COMBINING, 4, ENTRY_PAT_4K, ENTRY_PAT_LARGE, "wc"},
        {MEMORY_WRITE_COMBINING, 1, ENTRY_WRITE_THROUGH, ENTRY_WRITE_THROUGH, "wc"},
        {MEMORY_WRITE_COMBINING, 7, ENTRY_PAT_4K | ENTRY_WRITE_THROUGH | ENTRY_CACHE_DISABLE,
         ENTRY_PAT_LARGE | ENTRY_WRITE_THROUGH | ENTRY_CACHE_DISABLE, "wc"},
        {MEMORY_WRITE_COMBINING, 0, ENTRY_CACHE_DISABLE, ENTRY_CACHE_DISABLE, "uc-"},
        {MEMORY_UNCACHED_MINUS, 4, ENTRY_CACHE_DISABLE, ENTRY_CACHE_DISABLE, "uc-"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        create(fixture, 4, POOL_PAGES);
        fixture->space.write_combining = cases[i].write_combining;
        assert_true(map(fixture, VIRT, 2 * MIB + 4 * KIB, 0x40000000, cases[i].type, true));
        assert_int_equal(leaf(fixture, VIRT, 2), 0x40000000 | base | ENTRY_LARGE | cases[i].large);
        assert_int_equal(leaf(fixture, VIRT + 2 * MIB, 1), 0x40200000 | base | cases[i].small);
        char type[16];
        snprintf(type, sizeof(type), " type=%s", cases[i].name);
        size_t last = recording_sink_records(fixture->recording) - 1;
        assert_non_null(strstr(recording_sink_body(fixture->recording, last), type));
    }
}

static void large_range_is_split_into_small_large_small(void **state) {
    struct fixture *fixture = *state;
    uint64_t virt = VIRT + 2 * MIB - 8 * KIB;
    uint64_t phys = UINT64_C(0x80000000) + 2 * MIB - 8 * KIB;
    assert_true(map(fixture, virt, 4 * MIB + 12 * KIB, phys, MEMORY_WRITE_BACK, true));
    assert_int_equal(leaf(fixture, virt, 1) & ENTRY_FRAME_MASK, phys);
    assert_int_equal(leaf(fixture, virt + 4 * KIB, 1) & ENTRY_FRAME_MASK, phys + 4 * KIB);
    assert_true((leaf(fixture, VIRT + 2 * MIB, 2) & ENTRY_LARGE) != 0);
    assert_true((leaf(fixture, VIRT + 4 * MIB, 2) & ENTRY_LARGE) != 0);
    assert_int_equal(leaf(fixture, VIRT + 6 * MIB, 1) & ENTRY_FRAME_MASK, 0x80600000);
    assert_int_equal(leaf(fixture, VIRT + 6 * MIB + 4 * KIB, 1), 0);
    size_t records = recording_sink_records(fixture->recording);
    static const char *const expected[] = {
        "map name=range role=data virt=fffffd0000200000 last=fffffd00005fffff phys=80200000 "
        "rights=rw- size=200000 type=wb",
        "map name=range role=data virt=fffffd0000600000 last=fffffd0000600fff phys=80600000 "
        "rights=rw- size=1000 type=wb",
    };
    assert_string_equal(record(fixture, records - 1), expected[1]);
    /* Between them the record of the table that the last part needs. */
    assert_memory_equal(record(fixture, records - 2), "table ", 6);
    assert_string_equal(record(fixture, records - 3), expected[0]);
    assert_string_equal(record(fixture, records - 4),
                        "map name=range role=data virt=fffffd00001fe000 last=fffffd00001fffff "
                        "phys=801fe000 rights=rw- size=1000 type=wb");
}

static void range_that_large_pages_cannot_serve_gets_small_ones(void **state) {
    struct fixture *fixture = *state;
    assert_true(map(fixture, VIRT, 4 * MIB, 0x80001000, MEMORY_WRITE_BACK, true));
    assert_int_equal(leaf(fixture, VIRT + 3 * MIB, 1) & ENTRY_FRAME_MASK, 0x80301000);
    uint64_t short_virt = VIRT + 16 * MIB + 4 * KIB;
    assert_true(map(fixture, short_virt, 4 * MIB - 8 * KIB, 0x90001000, MEMORY_WRITE_BACK, true));
    assert_int_equal(leaf(fixture, VIRT + 18 * MIB, 1) & ENTRY_FRAME_MASK, 0x90200000);
    assert_true(map(fixture, VIRT + 32 * MIB, 2 * MIB, 0xa0000000, MEMORY_WRITE_BACK, false));
    assert_int_equal(leaf(fixture, VIRT + 32 * MIB, 1) & ENTRY_FRAME_MASK, 0xa0000000);
}

static void records_name_the_caller_and_each_new_table_its_parent(void **state) {
    struct fixture *fixture = *state;
    assert_true(map(fixture, VIRT, PAGE_BYTES, 0x7000, MEMORY_WRITE_BACK, false));
    assert_int_equal(recording_sink_records(fixture->recording), 2 + 3 + 1);
    uint64_t parent = (uint64_t)fixture->pool + 8 * level_index(VIRT, 4);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t phys = (uint64_t)fixture->pool + (i + 1) * PAGE_BYTES;
        char expected[100];
        snprintf(expected, sizeof(expected), "table phys=%llx level=%u parent=%llx",
                 (unsigned long long)phys, 3 - i, (unsigned long long)parent);
        assert_string_equal(record(fixture, 2 + i), expected);
        assert_int_equal(caller_of(fixture, 2 + i), caller_of(fixture, 5));
        parent = phys + 8 * level_index(VIRT, 3 - i);
    }
    assert_true(caller_of(fixture, 5) != 0);
}

static void refusals_name_range_place_and_cause(void **state) {
    struct fixture *fixture = *state;
    assert_true(map(fixture, VIRT + 4 * KIB, PAGE_BYTES, 0x7000, MEMORY_WRITE_BACK, false));
    size_t records = recording_sink_records(fixture->recording);
    assert_false(map(fixture, VIRT, 8 * KIB, 0x9000, MEMORY_WRITE_BACK, false));
    assert_string_equal(fixture->why.text,
                        "range at 0xfffffd0000001000: something else is mapped there");
    assert_int_equal(recording_sink_records(fixture->recording), records);
    assert_false(map(fixture, VIRT + 1, PAGE_BYTES, 0x9000, MEMORY_WRITE_BACK, false));
    assert_string_equal(fixture->why.text,
                        "range at 0xfffffd0000000001: an address or the size is not page aligned");
    assert_false(map(fixture, UINT64_C(1) << 47, PAGE_BYTES, 0x9000, MEMORY_WRITE_BACK, false));
    assert_string_equal(fixture->why.text, "range at 0x800000000000: the address is not canonical");
}

static void pool_that_runs_out_at_any_page_is_a_refusal(void **state) {
    struct fixture *fixture = *state;
    for (unsigned levels = 4; levels <= 5; levels++) {
        for (unsigned pages = 1; pages <= levels; pages++) {
            create(fixture, levels, pages);
            bool mapped = map(fixture, VIRT, PAGE_BYTES, 0x7000, MEMORY_WRITE_BACK, false);
            assert_true(mapped == (pages == levels));
            assert_int_equal(fixture->space.pool_used, pages);
            if (!mapped) {
                assert_string_equal(
                    fixture->why.text,
                    "range at 0xfffffd0000000000: the pool of page tables is used up");
            }
        }
    }
}

static void nothing_can_be_mapped_in_the_recursive_window(void **state) {
    struct fixture *fixture = *state;
    static const uint64_t windows[] = {UINT64_C(0xffffff0000000000), UINT64_C(0xfffe000000000000)};
    for (unsigned levels = 4; levels <= 5; levels++) {
        uint64_t window = windows[levels - 4];
        uint64_t size = UINT64_C(1) << level_shift(levels);
        create(fixture, levels, POOL_PAGES);
        const uint64_t inside[][2] = {{window, PAGE_BYTES},
                                      {window + size - PAGE_BYTES, PAGE_BYTES},
                                      {window - PAGE_BYTES, 2 * PAGE_BYTES}};
        for (size_t i = 0; i < 3; i++) {
            assert_false(map(fixture, inside[i][0], inside[i][1], 0, MEMORY_WRITE_BACK, false));
            assert_non_null(strstr(fixture->why.text, ": the recursive slot's window is there"));
            assert_int_equal(fixture->space.pool_used, 1);
        }
        assert_true(map(fixture, window - PAGE_BYTES, PAGE_BYTES, 0, MEMORY_WRITE_BACK, false));
        assert_true(map(fixture, window + size, PAGE_BYTES, 0, MEMORY_WRITE_BACK, false));
    }
}

static bool leave_out(struct mapping *mapping) {
    return mapping->phys != 0x7000;
}

static bool make_readonly(struct mapping *mapping) {
    mapping->rights = RIGHT_READ;
    return true;
}

static void fault_may_leave_a_range_out_or_change_it(void **state) {
    struct fixture *fixture = *state;
    static const struct fault leaves_out = {.id = "a", .mapping = leave_out};
    static const struct fault readonly = {.id = "b", .mapping = make_readonly};
    fixture->faults = (struct fault_set){.faults = {&leaves_out, &readonly}, .count = 2};
    assert_true(map(fixture, VIRT, PAGE_BYTES, 0x7000, MEMORY_WRITE_BACK, false));
    assert_int_equal(fixture->space.pool_used, 1);
    assert_int_equal(recording_sink_records(fixture->recording), 2);
    assert_true(map(fixture, VIRT, PAGE_BYTES, 0x8000, MEMORY_WRITE_BACK, false));
    assert_int_equal(leaf(fixture, VIRT, 1), 0x8000 | ENTRY_PRESENT | ENTRY_NO_EXECUTE);
}

static void region_is_a_record_and_maps_nothing(void **state) {
    struct fixture *fixture = *state;
    address_space_region(&fixture->space, "stack 0 guard", "guard", VIRT, PAGE_BYTES);
    assert_string_equal(record(fixture, 2), "region name=stack%200%20guard role=guard "
                                            "virt=fffffd0000000000 last=fffffd0000000fff");
    assert_int_equal(fixture->space.pool_used, 1);
}

static void set_changes_one_entry_and_tells_old_and_new(void **state) {
    struct fixture *fixture = *state;
    assert_true(map(fixture, VIRT, PAGE_BYTES, 0x7000, MEMORY_WRITE_BACK, false));
    uint64_t old = leaf(fixture, VIRT, 3);
    address_space_set(&fixture->space, VIRT, 3, old | ENTRY_NO_EXECUTE);
    assert_int_equal(leaf(fixture, VIRT, 3), old | ENTRY_NO_EXECUTE);
    char expected[160];
    snprintf(expected, sizeof(expected), "set entry=%llx level=3 index=0 old=%llx new=%llx",
             (unsigned long long)(uint64_t)&fixture->pool[512], (unsigned long long)old,
             (unsigned long long)(old | ENTRY_NO_EXECUTE));
    assert_string_equal(record(fixture, 6), expected);
}

static void set_and_get_below_a_missing_entry_do_nothing(void **state) {
    struct fixture *fixture = *state;
    address_space_set(&fixture->space, VIRT, 1, 0x1234);
    assert_int_equal(address_space_get(&fixture->space, VIRT, 1), 0);
    assert_int_equal(recording_sink_records(fixture->recording), 2);
    assert_true(map(fixture, VIRT, 2 * MIB, 0, MEMORY_WRITE_BACK, true));
    size_t records = recording_sink_records(fixture->recording);
    address_space_set(&fixture->space, VIRT, 1, 0x1234);
    assert_int_equal(recording_sink_records(fixture->recording), records);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define SPACE_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        SPACE_TEST(new_space_has_a_root_and_the_recursive_slot_and_nothing_else),
        SPACE_TEST(space_without_a_page_is_refused),
        SPACE_TEST(rights_become_bits_of_the_leaf),
        SPACE_TEST(memory_types_become_pat_indexes_for_both_page_sizes),
        SPACE_TEST(large_range_is_split_into_small_large_small),
        SPACE_TEST(range_that_large_pages_cannot_serve_gets_small_ones),
        SPACE_TEST(records_name_the_caller_and_each_new_table_its_parent),
        SPACE_TEST(refusals_name_range_place_and_cause),
        SPACE_TEST(pool_that_runs_out_at_any_page_is_a_refusal),
        SPACE_TEST(nothing_can_be_mapped_in_the_recursive_window),
        SPACE_TEST(fault_may_leave_a_range_out_or_change_it),
        SPACE_TEST(region_is_a_record_and_maps_nothing),
        SPACE_TEST(set_changes_one_entry_and_tells_old_and_new),
        SPACE_TEST(set_and_get_below_a_missing_entry_do_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
