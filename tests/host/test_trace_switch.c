/** The one call, up to where it would switch: what it refuses, finds and traces. */
#include "support/cmocka_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../trace/switch_jump.h"
#include "support/fake_switch.h"
#include "support/recording_sink.h"
#include "trace/control_registers.h"
#include "trace/paging.h"
#include "trace/safe_tables.h"
#include "trace/switch.h"

#define STACK UINT64_C(0xfffffe0000000000)
#define KERNEL UINT64_C(0xffffffff80000000)
#define RW (ENTRY_PRESENT | ENTRY_WRITABLE)
#define LEAF_DATA (RW | ENTRY_NO_EXECUTE)
#define BUFFER_PAGES (CR3SCOPE_BUFFER_BYTES / PAGE_BYTES)

static struct fake_memory *memory;
static struct recording_sink *recording;
static struct trace trace;
static uint8_t *buffer;
static unsigned levels;
static struct cr3scope_range ranges[3];
static struct cr3scope_request request;

static void map_both(uint64_t virt, uint64_t bits) {
    uint64_t page = virt & ~(PAGE_BYTES - 1);
    fake_switch_map(memory, FAKE_OLD_ROOT, levels, page, page, bits);
    fake_switch_map(memory, FAKE_NEW_ROOT, levels, page, page, bits);
}

/* A healthy request with `depth` levels: whatever a test spoils is the one mistake. */
static void start(unsigned depth) {
    levels = depth;
    memory = fake_memory_new();
    recording = recording_sink_new();
    buffer = aligned_alloc(PAGE_BYTES, BUFFER_PAGES * PAGE_BYTES);
    assert_non_null(buffer);
    fake_switch_reset(memory, depth);
    trace_init(&trace);
    assert_true(trace_add_sink(&trace, &recording->sink));
    map_both((uint64_t)switch_first, ENTRY_PRESENT);
    map_both((uint64_t)exception_stubs, ENTRY_PRESENT);
    for (uint64_t page = 0; page < 8; page++) {
        map_both((uint64_t)buffer + page * PAGE_BYTES, LEAF_DATA);
    }
    fake_switch_map(memory, FAKE_NEW_ROOT, depth, STACK, 0x300000, LEAF_DATA);
    fake_switch_map(memory, FAKE_NEW_ROOT, depth, KERNEL, 0x400000, ENTRY_PRESENT);
    fake_switch_map(memory, FAKE_NEW_ROOT, depth, KERNEL + PAGE_BYTES, 0x401000, ENTRY_PRESENT);
    ranges[0] = (struct cr3scope_range){.name = "text",
                                        .role = "text",
                                        .virt = KERNEL,
                                        .bytes = 2 * PAGE_BYTES,
                                        .phys = 0x400000,
                                        .rights = CR3SCOPE_READ | CR3SCOPE_EXECUTE};
    ranges[1] = (struct cr3scope_range){.name = "stack",
                                        .role = "stack",
                                        .virt = STACK,
                                        .bytes = PAGE_BYTES,
                                        .phys = 0x300000,
                                        .rights = CR3SCOPE_READ | CR3SCOPE_WRITE};
    ranges[2] = (struct cr3scope_range){
        .name = "guard", .role = "guard", .virt = STACK - PAGE_BYTES, .bytes = PAGE_BYTES};
    request = (struct cr3scope_request){
        .root = FAKE_NEW_ROOT,
        .stack_top = STACK + PAGE_BYTES,
        .entry = KERNEL + 0x10,
        .arguments = {1, 2, 3, 4, 5, 6},
        .ranges = ranges,
        .range_count = 3,
        .read = memory->physical.table,
        .read_context = memory->physical.context,
        .buffer = buffer,
        .buffer_bytes = BUFFER_PAGES * PAGE_BYTES,
        .begun = &trace,
        .flags = CR3SCOPE_SAFE_IDT,
    };
}

static void finish(void) {
    free(buffer);
    free(recording);
    fake_memory_free(memory);
}

static bool has(const char *text) {
    return strstr(recording->bytes, text) != NULL;
}

static void expect(enum cr3scope_status status, const char *reason) {
    enum cr3scope_status got = cr3scope_check(&request);
    if (got != status || strstr(cr3scope_reason(&request), reason) == NULL) {
        fail_msg("status %d, \"%s\" where %d, \"%s\" was due", got, cr3scope_reason(&request),
                 status, reason);
    }
    assert_false(fake_cpu_was_changed);
}

static char told[200];

static void keep_line(void *context, const char *line) {
    (void)context;
    snprintf(told, sizeof(told), "%s", line);
}

/* One mistake each, in a request that is right at both depths. */
struct mistake {
    void (*make)(void);
    enum cr3scope_status status;
    const char *reason;
};

static void root_misaligned(void) {
    request.root |= 0x200;
}
static void root_beyond_memory(void) {
    request.root |= UINT64_C(1) << 51;
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
static void ranges_missing(void) {
    request.ranges = NULL;
}
static void accesses_missing(void) {
    request.access_count = 1;
}
static struct cr3scope_access some_access;
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
static void guard_mapped(void) {
    fake_switch_map(memory, FAKE_NEW_ROOT, levels, STACK - PAGE_BYTES, 0x500000, LEAF_DATA);
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
    {root_beyond_memory, CR3SCOPE_FINDING, "mov cr3 itself will fault: vector 13"},
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
    {ranges_missing, CR3SCOPE_BAD_RANGE, "range_count is 0x3"},
    {accesses_missing, CR3SCOPE_BAD_ACCESS, "access_count is 0x1"},
    {access_too_wide, CR3SCOPE_BAD_ACCESS, "a width of none or above 1 MiB"},
    {access_empty, CR3SCOPE_BAD_ACCESS, "a width of none or above 1 MiB"},
    {access_odd_alignment, CR3SCOPE_BAD_ACCESS, "no power of two"},
    {access_of_no_kind, CR3SCOPE_BAD_ACCESS, "has no kind"},
    {cpu_without_long_mode, CR3SCOPE_BAD_CPU, "not in long mode"},
    {other_depth, CR3SCOPE_BAD_CPU, "cannot change PAE or LA57"},
    {without_paging, CR3SCOPE_BAD_CPU, "cannot change PE or PG"},
    {without_lme, CR3SCOPE_BAD_CPU, "cannot change LME or LMA"},
    {switch_code_moved, CR3SCOPE_MOVED, "the code of the switch at "},
    {buffer_moved, CR3SCOPE_MOVED, "the buffer at "},
    {scratch_too_small_for_the_old_tables, CR3SCOPE_TOO_MANY_TABLES, "scratch memory holds: 2"},
    {switch_code_unmapped, CR3SCOPE_FINDING, "step 0 (instruction after mov cr3) will fault"},
    {stack_unmapped, CR3SCOPE_FINDING, "step 1 (first push on the new stack) will fault"},
    {stack_read_only, CR3SCOPE_FINDING,
     "(first push on the new stack) will fault: vector 14 "
     "error 0x3 at 0xfffffe0000000ff8, level 1 entry 0"},
    {stack_not_canonical, CR3SCOPE_FINDING, "step 1 (first push on the new stack) will fault"},
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

static void healthy_request_is_allowed_and_traced_whole(void **state) {
    (void)state;
    for (unsigned depth = 4; depth <= 5; depth++) {
        start(depth);
        expect(CR3SCOPE_OK, "");
        static const char *const due[] = {
            "map name=text role=text virt=ffffffff80000000 last=ffffffff80001fff phys=400000 "
            "rights=r-x size=1000 type=wb",
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
        cmocka_unit_test(every_mistake_is_told_and_nothing_is_changed),
        cmocka_unit_test(healthy_request_is_allowed_and_traced_whole),
        cmocka_unit_test(mapped_guard_page_is_told_and_stops_nobody),
        cmocka_unit_test(arguments_are_where_each_convention_has_them),
        cmocka_unit_test(breakpoint_and_interrupt_come_where_the_cpu_meets_them),
        cmocka_unit_test(own_trace_begins_and_ends_so_that_nothing_more_is_due),
        cmocka_unit_test(findings_stop_nobody_who_asked_only_to_be_warned),
        cmocka_unit_test(garbage_in_new_tables_leads_the_dump_no_further_than_the_plan),
        cmocka_unit_test(more_new_tables_than_scratch_holds_are_refused),
        cmocka_unit_test(buffer_that_the_constant_names_is_enough_wherever_it_lies),
        cmocka_unit_test(safe_tables_serve_from_the_callers_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
