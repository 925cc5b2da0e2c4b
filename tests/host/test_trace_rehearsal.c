/** The rehearsal: how it gets to the new root and back, what it tries, and what it makes of the
 * answers. */
#include "support/cmocka_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../trace/switch_state.h"
#include "support/switch_scene.h"

static uint8_t *scratch;
static struct switch_probe seen[64]; /* what was tried, in order */
static size_t seen_count;
static uint64_t refused_virt; /* an address in a page that the machine refuses; 0: none */
static uint64_t refused_kind; /* such an access alone; PROBE_ALIGNED + 1: every */

static void machine(struct switch_probe *probe) {
    if (seen_count < 64) {
        seen[seen_count++] = *probe;
    }
    bool is_refused = refused_virt != 0 && ((probe->virt ^ refused_virt) & ~(PAGE_BYTES - 1)) == 0;
    if (is_refused && (refused_kind == probe->kind || refused_kind > PROBE_ALIGNED)) {
        probe->vector = VECTOR_PAGE_FAULT;
        probe->error_code = 3;
        probe->cr2 = probe->virt;
    }
}

static void start_rehearsal(unsigned depth) {
    start(depth);
    scratch = aligned_alloc(PAGE_BYTES, CR3SCOPE_REHEARSAL_BYTES);
    assert_non_null(scratch);
    for (uint64_t i = 0; i < CR3SCOPE_REHEARSAL_BYTES; i += PAGE_BYTES) {
        map_both((uint64_t)scratch + i, LEAF_DATA);
    }
    request.scratch = scratch;
    request.scratch_bytes = CR3SCOPE_REHEARSAL_BYTES;
    request.flags |= CR3SCOPE_REHEARSE;
    memset((uint8_t *)(void *)fake_memory_page(memory, 0x400000), 0xc3, PAGE_BYTES);
    memset((uint8_t *)(void *)fake_memory_page(memory, (uint64_t)switch_first & ~(PAGE_BYTES - 1)),
           0xc3, PAGE_BYTES);
    fake_cpu.cs = SELECTOR_CODE;
    fake_cpu.ss = SELECTOR_DATA;
    fake_rehearse = machine;
    seen_count = 0;
    refused_virt = 0;
    refused_kind = PROBE_ALIGNED + 1;
    told[0] = '\0';
    request.tell = keep_line;
}

static void finish_rehearsal(void) {
    free(scratch);
    finish();
}

static void every_step_is_tried_and_its_outcome_traced(void **state) {
    (void)state;
    for (unsigned depth = 4; depth <= 5; depth++) {
        start_rehearsal(depth);
        expect(CR3SCOPE_OK, "");
        assert_true(has("rehearse state=begin #"));
        assert_true(has("rehearsal step=0 outcome=ok #"));
        assert_true(has("rehearsal step=1 outcome=ok #"));
        assert_true(has("rehearsal step=2 outcome=ok #"));
        assert_true(has("rehearse state=end #"));
        assert_string_equal(told, "");
        finish_rehearsal();
    }
}

/* Both roots that are loaded are copies, in which one entry of the top leads to the page. */
static void page_is_mapped_at_one_address_in_copies_of_both_roots(void **state) {
    (void)state;
    for (unsigned depth = 4; depth <= 5; depth++) {
        start_rehearsal(depth);
        expect(CR3SCOPE_OK, "");
        const struct switch_probe *probe = &seen[0];
        uint64_t roots[2] = {probe->back_cr3, probe->new_cr3};
        for (unsigned i = 0; i < 2; i++) {
            uint64_t at = roots[i];
            for (unsigned level = depth; level >= 1; level--) {
                const uint64_t *table = (const uint64_t *)(uintptr_t)at;
                at = table[level_index(probe->entry, level)] & ENTRY_FRAME_MASK;
            }
            assert_int_equal(at, (uint64_t)scratch);
            const uint64_t *top = fake_memory_page(memory, i == 0 ? FAKE_OLD_ROOT : FAKE_NEW_ROOT);
            assert_int_equal(top[level_index(probe->entry, depth)], 0);
        }
        assert_true(virt_is_canonical(probe->entry, depth));
        finish_rehearsal();
    }
}

static void write_is_of_what_was_read_and_blind_only_where_nothing_can_be_read(void **state) {
    (void)state;
    start_rehearsal(4);
    expect(CR3SCOPE_OK, "");
    bool reads = false;
    for (size_t i = 0; i < seen_count; i++) {
        assert_true(seen[i].kind != PROBE_PUSH_BLIND && seen[i].kind != PROBE_WRITE_BLIND);
        reads = reads || (seen[i].kind == PROBE_READ && seen[i].virt == STACK + PAGE_BYTES - 8);
        assert_true(seen[i].kind != PROBE_PUSH || reads);
    }
    finish_rehearsal();
    start_rehearsal(4);
    refused_virt = STACK;
    expect(CR3SCOPE_FINDING,
           "rehearsal: step 1 (first push on the new stack) is refused by the CPU "
           "itself: vector 14 error 0x3 at 0xfffffe0000000ff8");
    assert_int_equal(seen[seen_count - 2].kind, PROBE_PUSH_BLIND);
    finish_rehearsal();
}

static void fetch_that_is_refused_is_told_at_its_own_address(void **state) {
    (void)state;
    start_rehearsal(4);
    refused_virt = KERNEL;
    expect(CR3SCOPE_FINDING, "step 2 (kernel entry) is refused by the CPU itself");
    assert_true(has("rehearsal step=2 outcome=fault vector=e error=3 cr2=ffffffff80000010 "
                    "virt=ffffffff80000010 #"));
    finish_rehearsal();
}

static void page_without_a_return_is_stepped_into_or_not_run(void **state) {
    (void)state;
    static const uint8_t moves[] = {0x48, 0x89, 0xf8};
    start_rehearsal(4);
    uint8_t *code = (uint8_t *)(void *)fake_memory_page(memory, 0x400000);
    memset(code, 0, PAGE_BYTES);
    memcpy(code + 0x20, moves, sizeof(moves));
    expect(CR3SCOPE_OK, "");
    assert_int_equal(seen[seen_count - 1].kind, PROBE_STEP);
    assert_int_equal(seen[seen_count - 1].virt, KERNEL + 0x20);
    finish_rehearsal();
    /* mov %rsp, %rsp; hlt; add %al, (%rax): none of them */
    static const uint8_t dangerous[] = {0x48, 0x89, 0xe4, 0xf4};
    start_rehearsal(4);
    code = (uint8_t *)(void *)fake_memory_page(memory, 0x400000);
    memset(code, 0, PAGE_BYTES);
    memcpy(code + 0x20, dangerous, sizeof(dangerous));
    expect(CR3SCOPE_OK, "");
    assert_true(has("rehearsal step=2 outcome=untried why="));
    finish_rehearsal();
}

static void what_only_the_preflight_refuses_is_told_and_is_no_finding_more(void **state) {
    (void)state;
    start_rehearsal(4);
    fake_switch_map(memory, FAKE_NEW_ROOT, levels, KERNEL, 0x400000,
                    ENTRY_PRESENT | ENTRY_NO_EXECUTE);
    expect(CR3SCOPE_FINDING, "preflight: step 2 ");
    assert_string_equal(told,
                        "rehearsal: step 2 (kernel entry) is allowed by the CPU itself, and by "
                        "the preflight it is not");
    finish_rehearsal();
}

static enum rehearsed_register refused_register;

static void refuse_all(struct switch_probe *probe) {
    probe->entered = 0;
    probe->loading = refused_register;
    probe->vector = VECTOR_GENERAL_PROTECTION;
    probe->error_code = 0;
}

/* The switch would end where the CPU refuses: a finding. */
static void
of_a_register_that_the_cpu_refuses_it_is_told_which_and_nothing_is_rehearsed(void **state) {
    (void)state;
    start_rehearsal(4);
    fake_rehearse = refuse_all;
    refused_register = REHEARSED_CR4;
    expect(CR3SCOPE_FINDING,
           "rehearsal: the CPU itself refuses the planned cr4 0x20: vector 13 error 0x0");
    assert_true(has("rehearse state=refused why="));
    assert_true(has(" what=cr4 value=20 vector=d error=0 #"));
    assert_false(has("rehearsal step="));
    finish_rehearsal();
}

/* The rehearsal goes without PGE, and by a copy of the top table. */
static void what_is_refused_is_told_as_it_is_planned(void **state) {
    (void)state;
    start_rehearsal(4);
    fake_cpu.features |= CPU_PGE;
    request.cr4 = fake_cpu.cr4 | CR4_PGE;
    fake_rehearse = refuse_all;
    refused_register = REHEARSED_CR4;
    expect(CR3SCOPE_FINDING, "the planned cr4 0xa0: ");
    assert_true(has(" what=cr4 value=a0 "));
    finish_rehearsal();
    char whole[64];
    start_rehearsal(4);
    fake_rehearse = refuse_all;
    refused_register = REHEARSED_CR3;
    (void)snprintf(whole, sizeof(whole),
                   "the planned cr3 0x%llx: ", (unsigned long long)request.root);
    expect(CR3SCOPE_FINDING, whole);
    finish_rehearsal();
}

static uint64_t dr7_within;

static void note_breakpoints(struct switch_probe *probe) {
    (void)probe;
    dr7_within |= fake_cpu_dr7;
}

static void breakpoints_of_a_debugger_are_off_meanwhile_and_on_again_behind_it(void **state) {
    (void)state;
    start_rehearsal(4);
    dr7_within = 0;
    fake_cpu_dr7 = 0xd0404; /* one on data, one on an instruction */
    fake_rehearse = note_breakpoints;
    expect(CR3SCOPE_OK, "");
    assert_int_equal(dr7_within & 0xff, 0);
    assert_int_equal(fake_cpu_dr7, 0xd0404);
    finish_rehearsal();
}

static void what_cannot_be_rehearsed_says_why(void **state) {
    (void)state;
    start_rehearsal(4);
    request.scratch_bytes = 5 * PAGE_BYTES;
    expect(CR3SCOPE_OK, "");
    assert_non_null(strstr(told, "rehearsal: none is made: the scratch memory has less room"));
    finish_rehearsal();

    start_rehearsal(4);
    fake_cpu.cs = 0x400;
    expect(CR3SCOPE_OK, "");
    assert_non_null(strstr(told, "selectors of which there is no copy: CS is 0x400"));
    finish_rehearsal();

    start_rehearsal(4);
    for (unsigned i = 0; i < PAGE_ENTRIES; i++) {
        uint64_t *entry = &fake_memory_page(memory, FAKE_NEW_ROOT)[i];
        *entry = *entry != 0 ? *entry : (FAKE_NEW_ROOT | ENTRY_PRESENT);
    }
    enum cr3scope_status status = cr3scope_check(&request);
    (void)status;
    assert_non_null(strstr(told, "no entry of the top tables is free in both"));
    finish_rehearsal();
    assert_int_equal(seen_count, 0);
}

static void bring_an_nmi(struct switch_probe *probe) {
    probe->nmis = 1;
}

static void nmi_that_came_meanwhile_gets_its_own_handler(void **state) {
    (void)state;
    start_rehearsal(4);
    expect(CR3SCOPE_OK, "");
    assert_int_equal(fake_cpu_nmis, 0);
    fake_rehearse = bring_an_nmi;
    expect(CR3SCOPE_OK, "");
    assert_int_equal(fake_cpu_nmis, 1);
    finish_rehearsal();
}

static void global_pages_are_off_meanwhile_and_low_bits_of_the_way_back_are_zero(void **state) {
    (void)state;
    start_rehearsal(4);
    fake_cpu.cr3 |= 0x18;
    request.cr4 = fake_cpu.cr4 | CR4_PGE;
    fake_cpu.cr4 |= CR4_PGE;
    fake_cpu.features |= CPU_PGE;
    expect(CR3SCOPE_OK, "");
    assert_int_equal(seen[0].new_cr4 & CR4_PGE, 0);
    assert_int_equal(seen[0].old_cr4 & CR4_PGE, CR4_PGE);
    assert_int_equal(seen[0].back_cr3 & 0xfff, 0);
    assert_int_equal(seen[0].go_cr3, seen[0].back_cr3 | 0x18);
    finish_rehearsal();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_step_is_tried_and_its_outcome_traced),
        cmocka_unit_test(page_is_mapped_at_one_address_in_copies_of_both_roots),
        cmocka_unit_test(write_is_of_what_was_read_and_blind_only_where_nothing_can_be_read),
        cmocka_unit_test(fetch_that_is_refused_is_told_at_its_own_address),
        cmocka_unit_test(page_without_a_return_is_stepped_into_or_not_run),
        cmocka_unit_test(what_only_the_preflight_refuses_is_told_and_is_no_finding_more),
        cmocka_unit_test(
            of_a_register_that_the_cpu_refuses_it_is_told_which_and_nothing_is_rehearsed),
        cmocka_unit_test(what_is_refused_is_told_as_it_is_planned),
        cmocka_unit_test(breakpoints_of_a_debugger_are_off_meanwhile_and_on_again_behind_it),
        cmocka_unit_test(what_cannot_be_rehearsed_says_why),
        cmocka_unit_test(nmi_that_came_meanwhile_gets_its_own_handler),
        cmocka_unit_test(global_pages_are_off_meanwhile_and_low_bits_of_the_way_back_are_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
