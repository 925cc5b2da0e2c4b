/** Preflight against tables built by hand: every reason to fault, its error code, and the entry
 * that is blamed. */
#include "support/cmocka_test.h"

#include <stdlib.h>

#include "support/fake_memory.h"
#include "trace/control_registers.h"
#include "trace/preflight.h"

/* Table pages by level, and what is mapped. Any address: index 3, 5, 7, 9, 11 from the top. */
#define PML5_PHYS UINT64_C(0x15000)
#define PML4_PHYS UINT64_C(0x14000)
#define PDPT_PHYS UINT64_C(0x13000)
#define PD_PHYS UINT64_C(0x12000)
#define PT_PHYS UINT64_C(0x11000)
#define PAGE_PHYS UINT64_C(0x77000)
#define INDEX_PML5 3u
#define INDEX_PML4 5u
#define INDEX_PDPT 7u
#define INDEX_PD 9u
#define INDEX_PT 11u
#define VIRT                                                                                       \
    ((UINT64_C(5) << 39) | (UINT64_C(7) << 30) | (UINT64_C(9) << 21) | (UINT64_C(11) << 12))
#define VIRT_5 ((UINT64_C(3) << 48) | VIRT)

#define ALL_RIGHTS (ENTRY_PRESENT | ENTRY_WRITABLE | ENTRY_USER)
#define SUPERVISOR (ENTRY_PRESENT | ENTRY_WRITABLE)

struct fixture {
    struct fake_memory *memory;
    struct paging_state state;
    uint64_t *entry[6]; /* by level: the entry on VIRT's path */
};

static int set_up(void **state) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    fixture->memory = fake_memory_new();
    fixture->state = (struct paging_state){
        .cr0 = CR0_WRITE_PROTECT,
        .cr3 = PML4_PHYS,
        .efer = EFER_NXE,
        .max_phys_bits = 40,
        .levels = 4,
        .has_1g_pages = true,
    };
    fixture->entry[5] = &fake_memory_page(fixture->memory, PML5_PHYS)[INDEX_PML5];
    fixture->entry[4] = &fake_memory_page(fixture->memory, PML4_PHYS)[INDEX_PML4];
    fixture->entry[3] = &fake_memory_page(fixture->memory, PDPT_PHYS)[INDEX_PDPT];
    fixture->entry[2] = &fake_memory_page(fixture->memory, PD_PHYS)[INDEX_PD];
    fixture->entry[1] = &fake_memory_page(fixture->memory, PT_PHYS)[INDEX_PT];
    *fixture->entry[5] = PML4_PHYS | SUPERVISOR;
    *fixture->entry[4] = PDPT_PHYS | SUPERVISOR;
    *fixture->entry[3] = PD_PHYS | SUPERVISOR;
    *fixture->entry[2] = PT_PHYS | SUPERVISOR;
    *fixture->entry[1] = PAGE_PHYS | SUPERVISOR;
    *state = fixture;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *fixture = *state;
    fake_memory_free(fixture->memory);
    free(fixture);
    return 0;
}

static bool check(struct fixture *fixture, uint64_t virt, uint64_t width, enum access_kind kind,
                  uint64_t *phys_ret, struct access_fault *fault_ret) {
    const struct access access = {virt, width, kind, 0};
    return access_check(&fixture->state, &fixture->memory->physical, &access, phys_ret, fault_ret);
}

static void expect_ok(struct fixture *fixture, uint64_t virt, enum access_kind kind,
                      uint64_t phys) {
    struct access_fault untouched = {.vector = 99};
    uint64_t got = 0;
    assert_true(check(fixture, virt, 8, kind, &got, &untouched));
    assert_int_equal(got, phys);
    assert_int_equal(untouched.vector, 99);
}

static const uint64_t table_phys[] = {0, PT_PHYS, PD_PHYS, PDPT_PHYS, PML4_PHYS, PML5_PHYS};
static const unsigned table_index[] = {0, INDEX_PT, INDEX_PD, INDEX_PDPT, INDEX_PML4, INDEX_PML5};

/* A page fault at VIRT, blamed on the entry of that level. */
static void expect_fault(struct fixture *fixture, enum access_kind kind, uint32_t error,
                         unsigned level) {
    struct access_fault fault = {0};
    uint64_t untouched = 42;
    uint64_t virt = fixture->state.levels == 5 ? VIRT_5 : VIRT;
    assert_false(check(fixture, virt + 0x10, 8, kind, &untouched, &fault));
    assert_int_equal(untouched, 42);
    assert_int_equal(fault.vector, 14);
    assert_int_equal(fault.error_code, error);
    assert_int_equal(fault.cr2, virt + 0x10);
    assert_int_equal(fault.level, level);
    assert_int_equal(fault.index, table_index[level]);
    assert_int_equal(fault.entry_phys, table_phys[level] + table_index[level] * 8);
    assert_int_equal(fault.entry, *fixture->entry[level]);
}

static void mapped_page_is_reached_for_every_kind(void **state) {
    struct fixture *fixture = *state;
    expect_ok(fixture, VIRT + 0x123, ACCESS_READ, PAGE_PHYS + 0x123);
    expect_ok(fixture, VIRT + 0x123, ACCESS_WRITE, PAGE_PHYS + 0x123);
    expect_ok(fixture, VIRT + 0x123, ACCESS_FETCH, PAGE_PHYS + 0x123);
    struct access_fault fault;
    assert_true(check(fixture, VIRT, 1, ACCESS_READ, NULL, &fault));
}

static void five_levels_are_walked_from_the_pml5(void **state) {
    struct fixture *fixture = *state;
    fixture->state.levels = 5;
    fixture->state.cr3 = PML5_PHYS;
    expect_ok(fixture, VIRT_5, ACCESS_READ, PAGE_PHYS);
    *fixture->entry[5] = 0;
    expect_fault(fixture, ACCESS_READ, 0, 5);
}

static void flag_bits_of_cr3_do_not_move_the_root(void **state) {
    struct fixture *fixture = *state;
    fixture->state.cr3 = (UINT64_C(1) << 63) | PML4_PHYS | 0xfff;
    expect_ok(fixture, VIRT, ACCESS_READ, PAGE_PHYS);
}

static void absent_entry_faults_with_p_clear_at_every_level(void **state) {
    struct fixture *fixture = *state;
    for (unsigned level = 1; level <= 4; level++) {
        uint64_t before = *fixture->entry[level];
        *fixture->entry[level] = before & ~ENTRY_PRESENT;
        expect_fault(fixture, ACCESS_READ, 0x0, level);
        expect_fault(fixture, ACCESS_WRITE, 0x2, level);
        expect_fault(fixture, ACCESS_FETCH, 0x10, level);
        /* Nothing is reserved in an entry that is not present. */
        *fixture->entry[level] = ~ENTRY_PRESENT;
        expect_fault(fixture, ACCESS_READ, 0x0, level);
        *fixture->entry[level] = before;
    }
}

static void fetch_bit_needs_nxe_or_smep(void **state) {
    struct fixture *fixture = *state;
    *fixture->entry[1] = 0;
    fixture->state.efer = 0;
    expect_fault(fixture, ACCESS_FETCH, 0x0, 1);
    fixture->state.cr4 = CR4_SMEP;
    expect_fault(fixture, ACCESS_FETCH, 0x10, 1);
    fixture->state.cr4 = 0;
    fixture->state.efer = EFER_NXE;
    expect_fault(fixture, ACCESS_FETCH, 0x10, 1);
}

static void no_execute_at_any_level_stops_fetches_alone_and_the_highest_is_blamed(void **state) {
    struct fixture *fixture = *state;
    for (unsigned level = 1; level <= 4; level++) {
        *fixture->entry[level] |= ENTRY_NO_EXECUTE;
        expect_fault(fixture, ACCESS_FETCH, 0x11, level);
        expect_ok(fixture, VIRT, ACCESS_READ, PAGE_PHYS);
        expect_ok(fixture, VIRT, ACCESS_WRITE, PAGE_PHYS);
    }
}

static void read_only_at_any_level_stops_writes_alone_and_the_highest_is_blamed(void **state) {
    struct fixture *fixture = *state;
    for (unsigned level = 1; level <= 4; level++) {
        *fixture->entry[level] &= ~ENTRY_WRITABLE;
        expect_fault(fixture, ACCESS_WRITE, 0x3, level);
        expect_ok(fixture, VIRT, ACCESS_READ, PAGE_PHYS);
        expect_ok(fixture, VIRT, ACCESS_FETCH, PAGE_PHYS);
    }
}

static void supervisor_writes_read_only_pages_without_wp(void **state) {
    struct fixture *fixture = *state;
    *fixture->entry[1] &= ~ENTRY_WRITABLE;
    fixture->state.cr0 = 0;
    expect_ok(fixture, VIRT, ACCESS_WRITE, PAGE_PHYS);
}

static void no_execute_without_nxe_is_reserved_at_every_level(void **state) {
    struct fixture *fixture = *state;
    fixture->state.efer = 0;
    for (unsigned level = 1; level <= 4; level++) {
        *fixture->entry[level] |= ENTRY_NO_EXECUTE;
        expect_fault(fixture, ACCESS_READ, 0x9, level);
        expect_fault(fixture, ACCESS_WRITE, 0xb, level);
        expect_fault(fixture, ACCESS_FETCH, 0x9, level);
        *fixture->entry[level] &= ~ENTRY_NO_EXECUTE;
    }
}

static void frame_beyond_maxphyaddr_is_reserved_at_every_level(void **state) {
    struct fixture *fixture = *state;
    for (unsigned level = 1; level <= 4; level++) {
        uint64_t before = *fixture->entry[level];
        *fixture->entry[level] = before | UINT64_C(1) << 40;
        expect_fault(fixture, ACCESS_FETCH, 0x19, level);
        *fixture->entry[level] = before | UINT64_C(1) << 51;
        expect_fault(fixture, ACCESS_READ, 0x9, level);
        *fixture->entry[level] = before;
    }
    *fixture->entry[1] = (UINT64_C(1) << 39) | PAGE_PHYS | SUPERVISOR;
    expect_ok(fixture, VIRT, ACCESS_READ, (UINT64_C(1) << 39) | PAGE_PHYS);
    fixture->state.max_phys_bits = 52;
    *fixture->entry[1] = (UINT64_C(1) << 51) | PAGE_PHYS | SUPERVISOR;
    expect_ok(fixture, VIRT, ACCESS_READ, (UINT64_C(1) << 51) | PAGE_PHYS);
}

static void ignored_bits_do_not_fault(void **state) {
    struct fixture *fixture = *state;
    for (unsigned level = 1; level <= 4; level++) {
        *fixture->entry[level] |= UINT64_C(0x7ff) << 52 | UINT64_C(7) << 9;
    }
    *fixture->entry[1] |= ENTRY_PAT_4K | ENTRY_GLOBAL;
    expect_ok(fixture, VIRT, ACCESS_FETCH, PAGE_PHYS);
}

static void ps_in_a_pml4e_or_pml5e_is_reserved(void **state) {
    struct fixture *fixture = *state;
    *fixture->entry[4] |= ENTRY_LARGE;
    expect_fault(fixture, ACCESS_READ, 0x9, 4);
    fixture->state.levels = 5;
    fixture->state.cr3 = PML5_PHYS;
    *fixture->entry[5] |= ENTRY_LARGE;
    expect_fault(fixture, ACCESS_READ, 0x9, 5);
}

static void global_in_a_pml4e_is_reserved_on_amd_alone(void **state) {
    struct fixture *fixture = *state;
    *fixture->entry[4] |= ENTRY_GLOBAL;
    *fixture->entry[3] |= ENTRY_GLOBAL;
    expect_ok(fixture, VIRT, ACCESS_READ, PAGE_PHYS);
    fixture->state.is_amd = true;
    expect_fault(fixture, ACCESS_READ, 0x9, 4);
    *fixture->entry[4] &= ~ENTRY_GLOBAL;
    expect_ok(fixture, VIRT, ACCESS_READ, PAGE_PHYS);
}

static void large_page_translates_with_its_own_offset_and_pat_bit(void **state) {
    struct fixture *fixture = *state;
    uint64_t leaf = SUPERVISOR | ENTRY_LARGE | ENTRY_PAT_LARGE;
    *fixture->entry[2] = UINT64_C(0x40200000) | leaf;
    /* An address whose bit 12 is clear: PAT, bit 12 of the entry, must not become part of it. */
    uint64_t virt = VIRT + PAGE_BYTES + 0x123;
    expect_ok(fixture, virt, ACCESS_WRITE, UINT64_C(0x40200000) + (12 << 12) + 0x123);
    *fixture->entry[3] = UINT64_C(0x80000000) | leaf;
    expect_ok(fixture, virt, ACCESS_WRITE, UINT64_C(0x80000000) + (9 << 21) + (12 << 12) + 0x123);
}

static void misaligned_large_frame_is_reserved(void **state) {
    struct fixture *fixture = *state;
    for (unsigned bit = 13; bit <= 20; bit++) {
        *fixture->entry[2] = UINT64_C(0x40200000) | UINT64_C(1) << bit | SUPERVISOR | ENTRY_LARGE;
        expect_fault(fixture, ACCESS_READ, 0x9, 2);
    }
    for (unsigned bit = 13; bit <= 29; bit++) {
        *fixture->entry[3] = UINT64_C(0x80000000) | UINT64_C(1) << bit | SUPERVISOR | ENTRY_LARGE;
        expect_fault(fixture, ACCESS_READ, 0x9, 3);
    }
}

static void gigabyte_page_without_support_is_reserved(void **state) {
    struct fixture *fixture = *state;
    *fixture->entry[3] = UINT64_C(0x80000000) | SUPERVISOR | ENTRY_LARGE;
    fixture->state.has_1g_pages = false;
    expect_fault(fixture, ACCESS_READ, 0x9, 3);
}

static void smep_and_smap_look_at_the_effective_user_bit_and_blame_the_leaf(void **state) {
    struct fixture *fixture = *state;
    fixture->state.cr4 = CR4_SMEP | CR4_SMAP;
    for (unsigned level = 1; level <= 3; level++) {
        *fixture->entry[level] |= ENTRY_USER;
        expect_ok(fixture, VIRT, ACCESS_FETCH, PAGE_PHYS);
        expect_ok(fixture, VIRT, ACCESS_READ, PAGE_PHYS);
    }
    *fixture->entry[4] |= ENTRY_USER;
    expect_fault(fixture, ACCESS_FETCH, 0x11, 1);
    expect_fault(fixture, ACCESS_READ, 0x1, 1);
    expect_fault(fixture, ACCESS_WRITE, 0x3, 1);

    fixture->state.cr4 = CR4_SMEP;
    expect_ok(fixture, VIRT, ACCESS_WRITE, PAGE_PHYS);
    fixture->state.cr4 = CR4_SMAP;
    expect_ok(fixture, VIRT, ACCESS_FETCH, PAGE_PHYS);
    fixture->state.cr4 = 0;
    expect_ok(fixture, VIRT, ACCESS_FETCH, PAGE_PHYS);
}

static void rights_are_judged_only_after_the_whole_walk(void **state) {
    struct fixture *fixture = *state;
    *fixture->entry[4] = (*fixture->entry[4] | ENTRY_NO_EXECUTE) & ~ENTRY_WRITABLE;
    *fixture->entry[1] = 0;
    expect_fault(fixture, ACCESS_FETCH, 0x10, 1);
    expect_fault(fixture, ACCESS_WRITE, 0x2, 1);
    *fixture->entry[2] |= UINT64_C(1) << 45;
    expect_fault(fixture, ACCESS_FETCH, 0x19, 2);
}

static void table_that_is_no_memory_counts_as_not_present(void **state) {
    struct fixture *fixture = *state;
    struct access_fault fault = {0};
    *fixture->entry[2] = UINT64_C(0xdead000) | SUPERVISOR;
    assert_false(check(fixture, VIRT, 8, ACCESS_READ, NULL, &fault));
    assert_int_equal(fault.vector, 14);
    assert_int_equal(fault.error_code, 0);
    assert_int_equal(fault.level, 1);
    assert_int_equal(fault.entry_phys, UINT64_C(0xdead000) + INDEX_PT * 8);
    assert_int_equal(fault.entry, 0);
}

static void non_canonical_address_is_a_general_protection_fault(void **state) {
    struct fixture *fixture = *state;
    const uint64_t virts[] = {UINT64_C(0x0000800000000000), UINT64_C(0xffff7fffffffffff),
                              UINT64_C(0x00007ffffffffff9), UINT64_C(0x8000000000000000)};
    for (size_t i = 0; i < sizeof(virts) / sizeof(virts[0]); i++) {
        struct access_fault fault = {.cr2 = 1, .level = 1};
        assert_false(check(fixture, virts[i], 8, ACCESS_READ, NULL, &fault));
        assert_int_equal(fault.vector, 13);
        assert_int_equal(fault.error_code, 0);
        assert_int_equal(fault.cr2, 0);
        assert_int_equal(fault.level, 0);
    }
}

static void canonical_means_more_bits_with_five_levels(void **state) {
    struct fixture *fixture = *state;
    struct access_fault fault;
    fixture->state.levels = 5;
    fixture->state.cr3 = PML5_PHYS;
    assert_false(check(fixture, UINT64_C(0x0000800000000000), 8, ACCESS_READ, NULL, &fault));
    assert_int_equal(fault.vector, 14);
    assert_false(check(fixture, UINT64_C(0x0100000000000000), 8, ACCESS_READ, NULL, &fault));
    assert_int_equal(fault.vector, 13);
    assert_false(check(fixture, UINT64_C(0xff00000000000000), 8, ACCESS_READ, NULL, &fault));
    assert_int_equal(fault.vector, 14);
}

static void access_over_a_page_boundary_faults_at_the_first_byte_of_the_failing_page(void **state) {
    struct fixture *fixture = *state;
    struct access_fault fault = {0};
    uint64_t phys = 0;
    assert_false(check(fixture, VIRT + 0xffc, 8, ACCESS_READ, &phys, &fault));
    assert_int_equal(fault.cr2, VIRT + 0x1000);
    assert_int_equal(fault.index, INDEX_PT + 1);
    assert_int_equal(phys, 0);
    assert_true(check(fixture, VIRT + 0xff8, 8, ACCESS_READ, &phys, &fault));

    fixture->entry[1][1] = UINT64_C(0x99000) | SUPERVISOR;
    assert_true(check(fixture, VIRT + 0xffc, 8, ACCESS_READ, &phys, &fault));
    assert_int_equal(phys, PAGE_PHYS + 0xffc);
    fixture->entry[1][1] |= ENTRY_NO_EXECUTE;
    assert_false(check(fixture, VIRT + 0xffc, 8, ACCESS_FETCH, &phys, &fault));
    assert_int_equal(fault.error_code, 0x11);
    assert_int_equal(fault.cr2, VIRT + 0x1000);
}

static void wide_access_is_checked_page_by_page_to_its_last_byte(void **state) {
    struct fixture *fixture = *state;
    struct access_fault fault = {0};
    for (unsigned i = 0; i < 4; i++) {
        fixture->entry[1][i] = (PAGE_PHYS + i * PAGE_BYTES) | SUPERVISOR;
    }
    assert_true(check(fixture, VIRT, 4 * PAGE_BYTES, ACCESS_WRITE, NULL, &fault));
    assert_false(check(fixture, VIRT, 4 * PAGE_BYTES + 1, ACCESS_WRITE, NULL, &fault));
    assert_int_equal(fault.cr2, VIRT + 4 * PAGE_BYTES);
}

static void last_bytes_of_the_address_space_are_no_special_case(void **state) {
    struct fixture *fixture = *state;
    struct access_fault fault = {0};
    uint64_t phys = 0;
    fake_memory_page(fixture->memory, PML4_PHYS)[511] = PDPT_PHYS | SUPERVISOR;
    fake_memory_page(fixture->memory, PDPT_PHYS)[511] =
        UINT64_C(0x80000000) | SUPERVISOR | ENTRY_LARGE;
    assert_true(check(fixture, UINT64_C(0xfffffffffffffff8), 8, ACCESS_WRITE, &phys, &fault));
    assert_int_equal(phys, UINT64_C(0xbffffff8));
    assert_false(check(fixture, UINT64_C(0xfffffffffffffff8), 9, ACCESS_WRITE, &phys, &fault));
    assert_int_equal(fault.cr2, 0);
    assert_int_equal(fault.vector, 14);
}

static void misaligned_access_that_demands_alignment_is_general_protection(void **state) {
    struct fixture *fixture = *state;
    struct access access = {VIRT + 8, 16, ACCESS_WRITE, 16};
    struct access_fault fault = {0};
    const struct physical_memory *memory = &fixture->memory->physical;
    assert_false(access_check(&fixture->state, memory, &access, NULL, &fault));
    assert_int_equal(fault.vector, 13);
    assert_int_equal(fault.error_code, 0);
    access.align = 8;
    assert_true(access_check(&fixture->state, memory, &access, NULL, &fault));
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define PREFLIGHT_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        PREFLIGHT_TEST(mapped_page_is_reached_for_every_kind),
        PREFLIGHT_TEST(misaligned_access_that_demands_alignment_is_general_protection),
        PREFLIGHT_TEST(five_levels_are_walked_from_the_pml5),
        PREFLIGHT_TEST(flag_bits_of_cr3_do_not_move_the_root),
        PREFLIGHT_TEST(absent_entry_faults_with_p_clear_at_every_level),
        PREFLIGHT_TEST(fetch_bit_needs_nxe_or_smep),
        PREFLIGHT_TEST(no_execute_at_any_level_stops_fetches_alone_and_the_highest_is_blamed),
        PREFLIGHT_TEST(read_only_at_any_level_stops_writes_alone_and_the_highest_is_blamed),
        PREFLIGHT_TEST(supervisor_writes_read_only_pages_without_wp),
        PREFLIGHT_TEST(no_execute_without_nxe_is_reserved_at_every_level),
        PREFLIGHT_TEST(frame_beyond_maxphyaddr_is_reserved_at_every_level),
        PREFLIGHT_TEST(ignored_bits_do_not_fault),
        PREFLIGHT_TEST(ps_in_a_pml4e_or_pml5e_is_reserved),
        PREFLIGHT_TEST(global_in_a_pml4e_is_reserved_on_amd_alone),
        PREFLIGHT_TEST(large_page_translates_with_its_own_offset_and_pat_bit),
        PREFLIGHT_TEST(misaligned_large_frame_is_reserved),
        PREFLIGHT_TEST(gigabyte_page_without_support_is_reserved),
        PREFLIGHT_TEST(smep_and_smap_look_at_the_effective_user_bit_and_blame_the_leaf),
        PREFLIGHT_TEST(rights_are_judged_only_after_the_whole_walk),
        PREFLIGHT_TEST(table_that_is_no_memory_counts_as_not_present),
        PREFLIGHT_TEST(non_canonical_address_is_a_general_protection_fault),
        PREFLIGHT_TEST(canonical_means_more_bits_with_five_levels),
        PREFLIGHT_TEST(access_over_a_page_boundary_faults_at_the_first_byte_of_the_failing_page),
        PREFLIGHT_TEST(wide_access_is_checked_page_by_page_to_its_last_byte),
        PREFLIGHT_TEST(last_bytes_of_the_address_space_are_no_special_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
