/** Each mistake in a request is told with its reason, and nothing is changed. */
#include "support/cmocka_test.h"

#include <stdlib.h>
#include <string.h>

#include "support/switch_scene.h"
#include "trace/photo.h"

/* One mistake each, in a request that is right at both depths. */
struct mistake {
    void (*make)(void);
    enum cr3scope_status status;
    const char *reason;
};

static void root_misaligned(void) {
    request.root |= 0x200;
}
static void root_that_keeps_translations(void) {
    fake_cpu.cr4 |= CR4_PCIDE;
    request.root |= UINT64_C(1) << 63;
}
static void root_beyond_memory(void) {
    request.root |= UINT64_C(1) << 51;
}
static void root_unreadable(void) {
    request.root = UINT64_C(0x500000000);
}
static void buffer_none(void) {
    request.buffer = NULL;
}
static void buffer_small(void) {
    request.buffer_bytes = CR3SCOPE_BUFFER_FOR(1) / 2;
}
static void scratch_small(void) {
    request.scratch = buffer;
    request.scratch_bytes = 64;
}
static void flags_unknown(void) {
    request.flags |= 1u << 31;
}
static void breakpoint_alone(void) {
    request.flags = CR3SCOPE_BREAKPOINT;
}
static void range_empty(void) {
    ranges[1].bytes = 0;
}
static void range_wraps(void) {
    ranges[1].bytes = UINT64_C(0) - STACK + 1;
}
static void range_wraps_physically(void) {
    ranges[1].phys = UINT64_MAX;
    ranges[1].bytes = 2;
}
static void range_not_canonical(void) {
    ranges[1].virt = UINT64_C(0x0100000000000000);
}
static void range_over_the_hole(void) {
    ranges[1].virt = PAGE_BYTES;
    ranges[1].bytes = UINT64_MAX - 2 * PAGE_BYTES;
    ranges[1].phys = 0;
}
static void range_strange_rights(void) {
    ranges[1].rights = 8;
}
static void range_strange_type(void) {
    ranges[1].type = "uc+";
}
static void ranges_missing(void) {
    request.ranges = NULL;
}
static void accesses_missing(void) {
    request.access_count = 1;
}
static struct cr3scope_access some_access;
static void accesses_countless(void) {
    request.accesses = &some_access;
    request.access_count = SIZE_MAX;
}
static void access_too_wide(void) {
    some_access = (struct cr3scope_access){.kind = CR3SCOPE_READS, .width = (1u << 20) + 1};
    request.accesses = &some_access;
    request.access_count = 1;
}
static void access_empty(void) {
    access_too_wide();
    some_access.width = 0;
}
static void access_odd_alignment(void) {
    access_too_wide();
    some_access = (struct cr3scope_access){.kind = CR3SCOPE_READS, .width = 1, .align = 24};
}
static void access_of_no_kind(void) {
    access_too_wide();
    some_access = (struct cr3scope_access){.kind = (enum cr3scope_kind)3, .width = 1};
}
static void cpu_without_long_mode(void) {
    fake_cpu.efer = 0;
}
static void other_depth(void) {
    request.cr4 = fake_cpu.cr4 ^ CR4_LA57;
}
static void without_paging(void) {
    request.cr0 = CR0_PROTECTION;
}
static void without_lme(void) {
    request.efer = EFER_NXE;
}
static void smep_that_the_cpu_lacks(void) {
    request.cr4 = fake_cpu.cr4 | CR4_SMEP;
}
static void nxe_that_the_cpu_lacks(void) {
    fake_cpu.features = 0;
    request.efer = fake_cpu.efer;
}
static void pcide_with_low_bits(void) {
    fake_cpu.features |= CPU_PCID;
    fake_cpu.cr3 |= 0x10;
    request.cr4 = fake_cpu.cr4 | CR4_PCIDE;
}
static void cet_without_write_protection(void) {
    fake_cpu.cr4 |= CR4_CET;
    request.cr0 = CR0_PROTECTION | CR0_PAGING;
}
static void pat_of_no_type(void) {
    request.pat = UINT64_C(0x0007040600070402);
}
static void smep_on_users_code(void) {
    uint64_t virt = (uint64_t)switch_first;
    fake_switch_allow_user(memory, FAKE_OLD_ROOT, levels, virt);
    fake_cpu.features |= CPU_SMEP;
    request.cr4 = fake_cpu.cr4 | CR4_SMEP;
}
static void no_execute_off_under_tables_that_use_it(void) {
    request.efer = fake_cpu.efer & ~EFER_NXE;
}
static void switch_code_moved(void) {
    uint64_t page = (uint64_t)switch_first & ~(PAGE_BYTES - 1);
    fake_switch_map(memory, FAKE_NEW_ROOT, levels, page, 0x777000, ENTRY_PRESENT);
}
static void buffer_moved(void) {
    fake_switch_map(memory, FAKE_NEW_ROOT, levels, (uint64_t)buffer + PAGE_BYTES, 0x777000,
                    LEAF_DATA);
}
static void scratch_too_small_for_the_old_tables(void) {
    request.scratch = buffer + 10 * PAGE_BYTES;
    request.scratch_bytes = 8 * (1024 + 3 * 2);
}
static void switch_code_unmapped(void) {
    uint64_t page = (uint64_t)switch_first & ~(PAGE_BYTES - 1);
    fake_switch_map(memory, FAKE_NEW_ROOT, levels, page, 0, 0);
}
static void stack_unmapped(void) {
    fake_switch_map(memory, FAKE_NEW_ROOT, levels, STACK, 0, 0);
}
static void stack_read_only(void) {
    fake_switch_map(memory, FAKE_NEW_ROOT, levels, STACK, 0x300000, ENTRY_PRESENT);
}
static void stack_not_canonical(void) {
    request.stack_top = UINT64_C(0x0100000000001000);
}
static void entry_no_execute(void) {
    fake_switch_map(memory, FAKE_NEW_ROOT, levels, KERNEL, 0x400000,
                    ENTRY_PRESENT | ENTRY_NO_EXECUTE);
}
static void last_text_page_no_execute(void) {
    fake_switch_map(memory, FAKE_NEW_ROOT, levels, KERNEL + PAGE_BYTES, 0x401000,
                    ENTRY_PRESENT | ENTRY_NO_EXECUTE);
}
static void last_text_page_elsewhere(void) {
    fake_switch_map(memory, FAKE_NEW_ROOT, levels, KERNEL + PAGE_BYTES, 0x402000, ENTRY_PRESENT);
}
static void access_unmapped(void) {
    some_access = (struct cr3scope_access){
        .name = "boot info", .kind = CR3SCOPE_READS, .virt = 0x5000, .width = 8};
    request.accesses = &some_access;
    request.access_count = 1;
}
static void access_misaligned(void) {
    some_access = (struct cr3scope_access){
        .name = "movaps", .kind = CR3SCOPE_WRITES, .virt = STACK + 8, .width = 16, .align = 16};
    request.accesses = &some_access;
    request.access_count = 1;
}

static const struct mistake mistakes[] = {
    {root_misaligned, CR3SCOPE_BAD_ROOT, "multiple of 4096: 0x2200"},
    {root_that_keeps_translations, CR3SCOPE_BAD_ROOT, "translations of before: 0x8000000000002000"},
    {root_beyond_memory, CR3SCOPE_FINDING, "mov cr3 itself will fault: vector 13"},
    {root_unreadable, CR3SCOPE_FINDING, "the root 0x500000000 cannot be read"},
    {buffer_none, CR3SCOPE_BAD_BUFFER, ""},
    {buffer_small, CR3SCOPE_BAD_BUFFER, ""},
    {scratch_small, CR3SCOPE_BAD_BUFFER, "scratch memory is too small"},
    {flags_unknown, CR3SCOPE_BAD_FLAGS, "unknown flags: 0x80000001"},
    {breakpoint_alone, CR3SCOPE_BAD_FLAGS, "a breakpoint needs the safe IDT"},
    {range_empty, CR3SCOPE_BAD_RANGE, "range stack at 0xfffffe0000000000 has no bytes"},
    {range_wraps, CR3SCOPE_BAD_RANGE, "range stack at 0xfffffe0000000000 wraps around"},
    {range_wraps_physically, CR3SCOPE_BAD_RANGE, "range stack at 0xfffffe0000000000 wraps"},
    {range_not_canonical, CR3SCOPE_BAD_RANGE, "range stack at 0x100000000000000 is not canonical"},
    {range_over_the_hole, CR3SCOPE_BAD_RANGE, "range stack at 0x1000 is not canonical"},
    {range_strange_rights, CR3SCOPE_BAD_RANGE, "has rights that are none"},
    {range_strange_type, CR3SCOPE_BAD_RANGE, "has a memory type that is none"},
    {ranges_missing, CR3SCOPE_BAD_RANGE, "range_count is 0x3"},
    {accesses_missing, CR3SCOPE_BAD_ACCESS, "access_count is 0x1"},
    {accesses_countless, CR3SCOPE_BAD_ACCESS, "access_count is 0xffffffffffffffff"},
    {access_too_wide, CR3SCOPE_BAD_ACCESS, "a width of none or above 1 MiB"},
    {access_empty, CR3SCOPE_BAD_ACCESS, "a width of none or above 1 MiB"},
    {access_odd_alignment, CR3SCOPE_BAD_ACCESS, "no power of two"},
    {access_of_no_kind, CR3SCOPE_BAD_ACCESS, "has no kind"},
    {cpu_without_long_mode, CR3SCOPE_BAD_CPU, "not in long mode"},
    {other_depth, CR3SCOPE_BAD_CPU, "cannot change PAE or LA57"},
    {without_paging, CR3SCOPE_BAD_CPU, "cannot change PE or PG"},
    {without_lme, CR3SCOPE_BAD_CPU, "cannot change LME or LMA"},
    {smep_that_the_cpu_lacks, CR3SCOPE_BAD_CPU, "not have a bit of cr4: 0x100000"},
    {nxe_that_the_cpu_lacks, CR3SCOPE_BAD_CPU, "not have NXE"},
    {pcide_with_low_bits, CR3SCOPE_BAD_CPU, "PCIDE cannot be set while CR3 has low bits"},
    {cet_without_write_protection, CR3SCOPE_BAD_CPU, "with CR4.CET a cr0 needs WP: 0x80000001"},
    {pat_of_no_type, CR3SCOPE_BAD_CPU, "a type of memory that is none"},
    {smep_on_users_code, CR3SCOPE_FINDING,
     "before mov cr3 the code of the switch will fault under the planned cr0, cr4 and efer: "
     "error 0x11"},
    {no_execute_off_under_tables_that_use_it, CR3SCOPE_FINDING,
     "before mov cr3 the target of the switch will fault under the planned cr0, cr4 and efer: "
     "error 0x9"},
    {switch_code_moved, CR3SCOPE_MOVED, "the code of the switch at "},
    {buffer_moved, CR3SCOPE_MOVED, "the buffer at "},
    {scratch_too_small_for_the_old_tables, CR3SCOPE_TOO_MANY_TABLES, "scratch memory holds: 2"},
    {switch_code_unmapped, CR3SCOPE_FINDING, "step 0 (instruction after mov cr3) will fault"},
    {stack_unmapped, CR3SCOPE_FINDING, "step 1 (first push on the new stack) will fault"},
    {stack_read_only, CR3SCOPE_FINDING,
     "(first push on the new stack) will fault: vector 14 "
     "error 0x3 at 0xfffffe0000000ff8, level 1 entry 0"},
    {stack_not_canonical, CR3SCOPE_FINDING,
     "step 1 (first push on the new stack) will fault: vector 12 (QEMU's TCG: 13) error 0x0"},
    {entry_no_execute, CR3SCOPE_FINDING,
     "step 2 (kernel entry) will fault: vector 14 error "
     "0x11 at 0xffffffff80000010, level 1 entry 0"},
    {last_text_page_no_execute, CR3SCOPE_FINDING,
     "range text at 0xffffffff80001000 cannot be executed: error 0x11, level 1 entry 1"},
    {last_text_page_elsewhere, CR3SCOPE_FINDING,
     "range text at 0xffffffff80001000 leads to 0x402000, not to 0x401000"},
    {access_unmapped, CR3SCOPE_FINDING, "step 3 (boot info) will fault: vector 14 error 0x0"},
    {access_misaligned, CR3SCOPE_FINDING, "step 3 (movaps) will fault: vector 13 error 0x0"},
};

static void every_mistake_is_told_and_nothing_is_changed(void **state) {
    (void)state;
    for (unsigned depth = 4; depth <= 5; depth++) {
        for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
            start(depth);
            mistakes[i].make();
            expect(mistakes[i].status, mistakes[i].reason);
            assert_int_equal(cr3scope_leave(&request), CR3SCOPE_NOT_CHECKED);
            finish();
        }
    }
}

/* Whoever reads the trace must be able to see why: the tables come with the refusal. */
static void a_switch_that_is_other_memory_is_refused_with_its_tables_or_warned_of(void **state) {
    (void)state;
    for (unsigned warns = 0; warns <= 1; warns++) {
        start(4);
        switch_code_moved();
        request.flags |= warns ? CR3SCOPE_WARN : 0;
        expect(warns ? CR3SCOPE_FINDING : CR3SCOPE_MOVED, "is other memory under the new root");
        assert_true(has("dump-end id=new"));
        finish();
    }
}

/* The frame buffer is looked up in the tables in force before anything else is held against the
 * request: a wrong offset must not make that the last word. */
static void a_screen_is_looked_up_only_where_the_tables_are(void **state) {
    (void)state;
    static uint64_t scratch[3 * PAGE_ENTRIES];
    for (unsigned small = 0; small <= 1; small++) {
        start(4);
        request.begun = NULL;
        request.uart_port = request.debugcon_port = CR3SCOPE_NO_PORT;
        request.read = NULL;
        request.physical_offset = UINT64_C(0x100000000000);
        request.framebuffer = (struct cr3scope_framebuffer){
            .virt = STACK, .width = 640, .height = 480, .pitch = 2560, .bits = 32};
        request.scratch = small ? scratch : NULL;
        request.scratch_bytes = 64;
        expect(small ? CR3SCOPE_BAD_BUFFER : CR3SCOPE_BAD_OFFSET,
               small ? "scratch memory is too small" : "are not where physical_offset has them");
        assert_int_equal(scratch[8], 0);
        finish();
    }
}

/* What is drawn is made in the scratch memory: one that is too small is refused, and left alone. */
static void of_scratch_too_small_nothing_is_drawn(void **state) {
    (void)state;
    const uint64_t bytes = 1024 * 768 * 4;
    static uint64_t scratch[3 * PAGE_ENTRIES];
    start(4);
    uint8_t *pixels = aligned_alloc(PAGE_BYTES, bytes);
    assert_non_null(pixels);
    for (uint64_t at = 0; at < bytes; at += PAGE_BYTES) {
        map_both((uint64_t)pixels + at, LEAF_DATA);
    }
    request.begun = NULL;
    request.uart_port = request.debugcon_port = CR3SCOPE_NO_PORT;
    request.framebuffer = (struct cr3scope_framebuffer){
        .virt = (uint64_t)pixels, .width = 1024, .height = 768, .pitch = 4096, .bits = 32};
    request.scratch = scratch;
    request.scratch_bytes = 64;
    expect(CR3SCOPE_BAD_BUFFER, "scratch memory is too small");
    for (size_t i = 0; i < sizeof(scratch) / sizeof(scratch[0]); i++) {
        assert_int_equal(scratch[i], 0);
    }
    free(pixels);
    finish();
}

#define THE_BUFFER ((void *)1)

/* The pages of `keep` are mapped in the tables in force, to `phys`, or not at all (0). */
static void expect_kept(uint64_t phys, const char *role, void *keep, const char *said) {
    const size_t bytes = 3 * PAGE_BYTES;
    start(4);
    uint8_t *memory_of_keep = aligned_alloc(PAGE_BYTES, bytes);
    assert_non_null(memory_of_keep);
    memset(memory_of_keep, 0x5a, bytes);
    for (uint64_t at = 0; at < bytes && phys != 0; at += PAGE_BYTES) {
        fake_switch_map(memory, FAKE_OLD_ROOT, 4, (uint64_t)memory_of_keep + at, phys + at,
                        LEAF_DATA);
    }
    request.begun = NULL;
    request.uart_port = request.debugcon_port = CR3SCOPE_NO_PORT;
    request.keep = keep == THE_BUFFER ? buffer + PAGE_BYTES : keep != NULL ? keep : memory_of_keep;
    request.keep_bytes = bytes;
    request.tell = keep_line;
    ranges[0].role = role;
    told[0] = '\0';
    expect(CR3SCOPE_OK, "");
    bool is_kept = memcmp(memory_of_keep, "C3SKEEP1", 8) == 0;
    if (is_kept != (said[0] == '\0') || strstr(told, said) == NULL) {
        fail_msg("kept: %d, \"%s\" where \"%s\" was due", is_kept, told, said);
    }
    assert_true(is_kept || memory_of_keep[0] == 0x5a);
    free(memory_of_keep);
    finish();
}

/* It is written before the switch: in memory of the new address space that would spoil it. */
static void what_is_kept_is_held_against_both_address_spaces(void **state) {
    (void)state;
    expect_kept(0x600000, "text", NULL, "");
    expect_kept(0, "text", NULL, ": the tables in force do not let it be written");
    expect_kept(0x3ff000, "text", NULL, ": it is memory of the range text");
    expect_kept(0x3fe000, "identity", NULL, ""); /* covers it, and has nothing of its own there */
    expect_kept(FAKE_NEW_ROOT - PAGE_BYTES, "text", NULL, ": it is memory of the new page tables");
    expect_kept(0x600000, "text", THE_BUFFER, ": it is memory of the buffer");
    expect_kept(0x600000, "text", (void *)(UINTPTR_MAX - 8), "keep: nothing is kept at 0x");
}

/* What is drawn is what is kept: the lines for people. Of ranges one over the other the last one
 * wrote the entry, as the analyzer has it; nobody mapped what has no rights. */
static void finding_is_drawn_with_who_mapped_its_range(void **state) {
    static const struct {
        uint64_t caller;
        bool is_over; /* a second range covers the same, and comes later */
        uint64_t later;
        uint32_t later_rights;
        const char *line;
    } cases[] = {
        {0, false, 0, 0, NULL},
        {0x1234, false, 0, 0, "  it is in the range text, mapped by the code before 0x1234"},
        {0x1234, true, 0x5678, CR3SCOPE_READ,
         "  it is in the range later, mapped by the code before 0x5678"},
        {0x1234, true, 0, CR3SCOPE_READ, NULL},
        {0x1234, true, 0x5678, 0, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        static uint8_t kept_memory[3 * PAGE_BYTES] __attribute__((aligned(4096)));
        struct photo_kept kept;
        start(4);
        for (uint64_t at = 0; at < sizeof(kept_memory); at += PAGE_BYTES) {
            map_both((uint64_t)kept_memory + at, LEAF_DATA);
        }
        fake_switch_map(memory, FAKE_NEW_ROOT, 4, KERNEL, 0x400000,
                        ENTRY_PRESENT | ENTRY_NO_EXECUTE);
        request.begun = NULL;
        request.uart_port = request.debugcon_port = CR3SCOPE_NO_PORT;
        request.keep = kept_memory;
        request.keep_bytes = sizeof(kept_memory);
        ranges[0].caller = cases[i].caller;
        if (cases[i].is_over) {
            ranges[2] = ranges[0];
            ranges[2].name = "later";
            ranges[2].caller = cases[i].later;
            ranges[2].rights = cases[i].later_rights;
        }
        expect(CR3SCOPE_FINDING, "preflight: step 2 ");
        assert_true(photo_kept(kept_memory, sizeof(kept_memory), &kept));
        const char *line = NULL;
        for (size_t at = 0; at < kept.text_bytes; at += strlen(kept.text + at) + 1) {
            line = strstr(kept.text + at, "it is in the range") != NULL ? kept.text + at : line;
        }
        assert_int_equal(line != NULL, cases[i].line != NULL);
        if (line != NULL) {
            assert_string_equal(line, cases[i].line);
        }
        finish();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_switch_that_is_other_memory_is_refused_with_its_tables_or_warned_of),
        cmocka_unit_test(every_mistake_is_told_and_nothing_is_changed),
        cmocka_unit_test(a_screen_is_looked_up_only_where_the_tables_are),
        cmocka_unit_test(of_scratch_too_small_nothing_is_drawn),
        cmocka_unit_test(what_is_kept_is_held_against_both_address_spaces),
        cmocka_unit_test(finding_is_drawn_with_who_mapped_its_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
