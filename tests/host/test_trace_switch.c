/** The one call, up to where it would switch: what it allows, tells and traces. */
#include "support/cmocka_test.h"

#include <stdlib.h>
#include <string.h>

#include "../../trace/switch_state.h"
#include "support/switch_scene.h"

static void guard_mapped(void) {
    fake_switch_map(memory, FAKE_NEW_ROOT, levels, STACK - PAGE_BYTES, 0x500000, LEAF_DATA);
}
static void stack_unmapped(void) {
    fake_switch_map(memory, FAKE_NEW_ROOT, levels, STACK, 0, 0);
}

static void healthy_request_is_allowed_and_traced_whole(void **state) {
    (void)state;
    for (unsigned depth = 4; depth <= 5; depth++) {
        start(depth);
        expect(CR3SCOPE_OK, "");
        static const char *const due[] = {
            "map name=text role=text virt=ffffffff80000000 last=ffffffff80001fff phys=400000 "
            "rights=r-x size=1000 type=wb caller=0 #",
            "region name=guard role=guard virt=fffffdfffffff000 last=fffffdffffffffff #",
            "plan step=0 name=instruction%20after%20mov%20cr3 kind=fetch",
            "plan step=1 name=first%20push%20on%20the%20new%20stack kind=write "
            "virt=fffffe0000000ff8 width=8",
            "plan step=2 name=kernel%20entry kind=fetch virt=ffffffff80000010 width=1",
            "preflight step=2 outcome=ok",
            "dump-end id=old",
            "dump-end id=new",
            "memory-end name=code",
        };
        for (size_t i = 0; i < sizeof(due) / sizeof(due[0]); i++) {
            if (!has(due[i])) {
                fail_msg("no record: %s", due[i]);
            }
        }
        assert_false(has("outcome=fault"));
        finish();
    }
}

static void mapped_guard_page_is_told_and_stops_nobody(void **state) {
    (void)state;
    start(4);
    guard_mapped();
    request.tell = keep_line;
    expect(CR3SCOPE_OK, "");
    assert_string_equal(told, "preflight: range guard at 0xfffffdfffffff000 is mapped, and shall "
                              "not be: it leads to 0x500000");
    finish();
}

static void safe_idt_whose_stack_is_read_only_is_told_and_stops_nobody(void **state) {
    (void)state;
    uint64_t stack = (uint64_t)SAFE_TABLES_PAGES * PAGE_BYTES;
    start(4);
    fake_switch_map(memory, FAKE_NEW_ROOT, levels, (uint64_t)buffer, (uint64_t)buffer,
                    ENTRY_PRESENT); /* the IDT is only read */
    told[0] = '\0';
    request.tell = keep_line;
    expect(CR3SCOPE_OK, "");
    assert_string_equal(told, "");
    fake_switch_map(memory, FAKE_NEW_ROOT, levels, (uint64_t)buffer + stack,
                    (uint64_t)buffer + stack, ENTRY_PRESENT);
    expect(CR3SCOPE_OK, "");
    assert_non_null(strstr(told, "cannot be used under the new root"));
    finish();
}

static struct exception_frame *raised;

/* A function that the new tables do not map: to call it is the next exception. */
static void die(void *context, const char *bytes, size_t count) {
    (void)context;
    (void)bytes;
    (void)count;
    exception_dispatch(raised);
}

static void exception_is_told_whole_before_the_callers_function_is_called(void **state) {
    (void)state;
    jmp_buf halted;
    start(4);
    request.begun = NULL;
    request.uart_port = request.debugcon_port = CR3SCOPE_NO_PORT;
    request.write = recording->sink.write;
    request.write_context = recording->sink.context;
    expect(CR3SCOPE_OK, "");
    struct switch_state *made = (struct switch_state *)(void *)buffer;
    made->own_trace.sinks[0] = &recording->sink;
    made->own_trace.sinks[1] = &made->sink;
    made->own_trace.sink_count = 2;
    made->sink.write = die;
    raised = (struct exception_frame *)(void *)((uint8_t *)&made->safe.context - sizeof(*raised));
    raised->vector = VECTOR_PAGE_FAULT;
    fake_cpu_halted = &halted;
    if (setjmp(halted) == 0) {
        exception_dispatch(raised);
    }
    fake_cpu_halted = NULL;
    assert_true(has("fault by=safe-idt vector=e"));
    assert_true(has("cr3scope: exception 14 error 0x0"));
    finish();
}

static void root_may_have_a_pcid_where_the_cpu_has_pcids(void **state) {
    (void)state;
    start(4);
    fake_cpu.cr4 |= CR4_PCIDE;
    request.root |= 0x7;
    expect(CR3SCOPE_OK, "");
    assert_true(has("dump id=new cr3=2007 "));
    finish();
}

static void names_that_are_too_long_for_a_record_are_cut(void **state) {
    (void)state;
    char name[600];
    memset(name, '<', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    start(4);
    ranges[0].name = ranges[0].role = ranges[2].name = ranges[2].role = name;
    expect(CR3SCOPE_OK, "");
    assert_true(has("map name=<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<<< role=<<<"));
    assert_true(has("region name=<<<"));
    request.begun = NULL;
    request.uart_port = request.debugcon_port = CR3SCOPE_NO_PORT;
    request.write = recording->sink.write;
    request.write_context = recording->sink.context;
    request.producer = name;
    expect(CR3SCOPE_OK, "");
    assert_true(has("begin producer=<<<"));
    assert_true(has("end producer=<<<"));
    finish();
}

static void of_a_root_that_cannot_be_read_nothing_more_is_told(void **state) {
    (void)state;
    start(4);
    request.root = UINT64_C(0x500000000);
    request.tell = keep_line;
    expect(CR3SCOPE_FINDING, "cannot be read");
    assert_string_equal(told, "preflight: the root 0x500000000 cannot be read");
    finish();
}

static void ranges_as_large_as_memory_take_a_step_for_each_large_page_and_hole(void **state) {
    (void)state;
    uint64_t all = UINT64_C(0xffff800000000000);
    start(4);
    fake_memory_page(memory, FAKE_NEW_ROOT)[256] = UINT64_C(0x9000) | RW;
    for (uint64_t i = 0; i < PAGE_ENTRIES; i++) {
        fake_memory_page(memory, 0x9000)[i] = i << 30 | RW | ENTRY_LARGE | ENTRY_NO_EXECUTE;
    }
    fake_cpu.features |= CPU_1G;
    ranges[0] = (struct cr3scope_range){
        .name = "all of memory", .virt = all, .bytes = UINT64_C(1) << 39, .rights = CR3SCOPE_READ};
    ranges[2] = (struct cr3scope_range){
        .name = "hole", .virt = all + (UINT64_C(1) << 39), .bytes = UINT64_C(64) << 39};
    expect(CR3SCOPE_OK, "");
    fake_memory_page(memory, 0x9000)[511] = 0;
    expect(CR3SCOPE_FINDING, "range all of memory at 0xffff807fc0000000 cannot be read");
    finish();
}

static void arguments_are_where_each_convention_has_them(void **state) {
    (void)state;
    start(4);
    request.rax = 7;
    expect(CR3SCOPE_OK, "");
    assert_true(has("entry rax=7 rcx=4 rdx=3 rsi=2 rdi=1"));
    finish();
    start(4);
    request.abi = CR3SCOPE_ABI_MICROSOFT;
    expect(CR3SCOPE_OK, "");
    assert_true(has("entry rax=0 rcx=1 rdx=2 rsi=0 rdi=0"));
    /* 32 bytes above the return address are the callee's, and RSP + 8 is a multiple of 16. */
    assert_true(has("kind=write virt=fffffe0000000fd8 width=8"));
    finish();
}

static void breakpoint_and_interrupt_come_where_the_cpu_meets_them(void **state) {
    (void)state;
    start(4);
    request.flags |= CR3SCOPE_BREAKPOINT | CR3SCOPE_INTERRUPTS;
    expect(CR3SCOPE_OK, "");
    assert_true(has("plan step=0 name=pending%20interrupt kind=interrupt"));
    assert_true(has("plan step=3 name=int3 kind=interrupt"));
    assert_true(has("plan step=4 name=kernel%20entry"));
    finish();
}

static void own_trace_begins_and_ends_so_that_nothing_more_is_due(void **state) {
    (void)state;
    start(4);
    request.begun = NULL;
    request.uart_port = request.debugcon_port = CR3SCOPE_NO_PORT;
    request.write = recording->sink.write;
    request.write_context = recording->sink.context;
    expect(CR3SCOPE_OK, "");
    assert_true(has("@c3s1 0 begin producer=kernel"));
    assert_true(has("role=trampoline"));
    assert_true(has("end producer=kernel"));
    assert_true(has("next=none #"));
    assert_false(has("error where"));
    finish();
    start(4);
    stack_unmapped();
    request.begun = NULL;
    request.uart_port = request.debugcon_port = CR3SCOPE_NO_PORT;
    request.write = recording->sink.write;
    request.write_context = recording->sink.context;
    expect(CR3SCOPE_FINDING, "first push");
    assert_true(has("error where=preflight"));
    assert_true(has("\npreflight: step 1 ("));
    assert_false(has("end producer"));
    finish();
}

static void a_trace_is_kept_though_there_is_no_screen_or_one_of_no_use(void **state) {
    (void)state;
    static uint8_t memory_kept[PHOTO_KEPT_BYTES];
    for (unsigned has_screen = 0; has_screen <= 1; has_screen++) {
        struct photo_kept kept;
        memset(memory_kept, 0, sizeof(memory_kept));
        start(4);
        for (uint64_t at = 0; at < sizeof(memory_kept) + PAGE_BYTES; at += PAGE_BYTES) {
            map_both((uint64_t)memory_kept + at, LEAF_DATA);
        }
        request.begun = NULL;
        request.uart_port = request.debugcon_port = CR3SCOPE_NO_PORT;
        request.framebuffer.virt = has_screen ? STACK : 0;
        request.keep = memory_kept;
        request.keep_bytes = sizeof(memory_kept);
        expect(CR3SCOPE_OK, "");
        assert_true(photo_kept(memory_kept, sizeof(memory_kept), &kept));
        assert_true(kept.stream_bytes > 1000);
        finish();
    }
}

static void findings_stop_nobody_who_asked_only_to_be_warned(void **state) {
    (void)state;
    start(4);
    stack_unmapped();
    request.flags |= CR3SCOPE_WARN;
    expect(CR3SCOPE_FINDING, "first push");
    struct cr3scope_request other = request;
    assert_int_equal(cr3scope_leave(&other), CR3SCOPE_NOT_CHECKED);
    finish();
}

static void add_garbage(unsigned tables, unsigned entries) {
    uint64_t *root = fake_memory_page(memory, FAKE_NEW_ROOT);
    for (unsigned i = 1; i <= tables; i++) {
        root[i] = (UINT64_C(0x10000000) + i * PAGE_BYTES) | RW;
        uint64_t *table = fake_memory_page(memory, UINT64_C(0x10000000) + i * PAGE_BYTES);
        for (unsigned k = 0; k < entries; k++) {
            table[k] = (UINT64_C(0x20000000) + (i * 512 + k) * PAGE_BYTES) | RW;
        }
    }
    request.scratch = buffer + 10 * PAGE_BYTES;
    request.scratch_bytes = 8 * (1024 + 3 * 100);
}

static void garbage_in_new_tables_leads_the_dump_no_further_than_the_plan(void **state) {
    (void)state;
    start(4);
    add_garbage(10, 50);
    expect(CR3SCOPE_OK, "");
    assert_true(has("dump-end id=new"));
    finish();
}

static void more_new_tables_than_scratch_holds_are_refused(void **state) {
    (void)state;
    start(4);
    add_garbage(200, 0);
    expect(CR3SCOPE_TOO_MANY_TABLES,
           "the new page tables are more than the scratch memory holds: ");
    finish();
}

static void buffer_that_the_constant_names_is_enough_wherever_it_lies(void **state) {
    (void)state;
    start(4);
    request.buffer = buffer + 1;
    request.buffer_bytes = CR3SCOPE_BUFFER_FOR(64);
    for (uint64_t page = 0; page < 12; page++) {
        map_both((uint64_t)buffer + page * PAGE_BYTES, LEAF_DATA);
    }
    expect(CR3SCOPE_OK, "");
    assert_true(CR3SCOPE_BUFFER_BYTES <= 96 * 1024);
    finish();
}

static void safe_tables_serve_from_the_callers_memory(void **state) {
    (void)state;
    struct safe_tables *safe = aligned_alloc(PAGE_BYTES, sizeof(*safe));
    struct cpu_state cpu = {.idt = {7, 7}};
    int context;
    assert_non_null(safe);
    safe_tables_fill(safe, SELECTOR_CODE, &context);
    const struct exception_frame *frame =
        (const struct exception_frame *)(const void *)((const uint8_t *)&safe->context -
                                                       sizeof(*frame));
    assert_ptr_equal(safe_tables_context(frame), &context);
    assert_int_equal((uint64_t)&safe->gdt & (PAGE_BYTES - 1), 0);
    assert_int_equal(safe->tss.ist[0] & 15, 0);
    safe_tables_planned(safe, &cpu, false);
    assert_int_equal(cpu.idt.base, 7);
    assert_int_equal(cpu.gdt.base, (uint64_t)safe->gdt);
    safe_tables_planned(safe, &cpu, true);
    assert_int_equal(cpu.idt.base, (uint64_t)safe->idt);
    assert_int_equal(cpu.idt.limit, 4095);
    free(safe);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(healthy_request_is_allowed_and_traced_whole),
        cmocka_unit_test(mapped_guard_page_is_told_and_stops_nobody),
        cmocka_unit_test(safe_idt_whose_stack_is_read_only_is_told_and_stops_nobody),
        cmocka_unit_test(exception_is_told_whole_before_the_callers_function_is_called),
        cmocka_unit_test(root_may_have_a_pcid_where_the_cpu_has_pcids),
        cmocka_unit_test(names_that_are_too_long_for_a_record_are_cut),
        cmocka_unit_test(of_a_root_that_cannot_be_read_nothing_more_is_told),
        cmocka_unit_test(ranges_as_large_as_memory_take_a_step_for_each_large_page_and_hole),
        cmocka_unit_test(arguments_are_where_each_convention_has_them),
        cmocka_unit_test(breakpoint_and_interrupt_come_where_the_cpu_meets_them),
        cmocka_unit_test(own_trace_begins_and_ends_so_that_nothing_more_is_due),
        cmocka_unit_test(a_trace_is_kept_though_there_is_no_screen_or_one_of_no_use),
        cmocka_unit_test(findings_stop_nobody_who_asked_only_to_be_warned),
        cmocka_unit_test(garbage_in_new_tables_leads_the_dump_no_further_than_the_plan),
        cmocka_unit_test(more_new_tables_than_scratch_holds_are_refused),
        cmocka_unit_test(buffer_that_the_constant_names_is_enough_wherever_it_lies),
        cmocka_unit_test(safe_tables_serve_from_the_callers_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
