/** The `cpu` and `fault` records, the IDT that leads to the stubs, and what of the CPU decides a
 * walk. */
#include "support/cmocka_test.h"

#include <stdlib.h>
#include <string.h>

#include "support/recording_sink.h"
#include "trace/control_registers.h"
#include "trace/cpu.h"
#include "trace/exception.h"

#define ONES UINT64_C(0xffffffffffffffff)

/* No privileged instruction on the host: the library's own are in cpu_read.c. */
uint64_t cpu_read_cr2(void) {
    return UINT64_C(0xffffffffc0de0002);
}

uint64_t cpu_read_cr3(void) {
    return UINT64_C(0xfffffffffffff003);
}

/* Stands in for exception_stubs.S, which only runs on x86-64: fill_idt wants its addresses. */
const char exception_stubs[EXCEPTION_VECTORS][16] = {{0}};

static struct recording_sink *traced(void (*write)(struct trace *)) {
    struct recording_sink *recording = recording_sink_new();
    const struct trace_position late = {.sequence = UINT32_C(0xfffffff0)};
    struct trace trace;
    trace_resume(&trace, &late);
    assert_true(trace_add_sink(&trace, &recording->sink));
    write(&trace);
    assert_false(trace.overflow);
    return recording;
}

static void write_cpu(struct trace *trace) {
    const struct cpu_state cpu = {
        .cr0 = UINT64_C(0x80010033),
        .cr2 = 2,
        .cr3 = 3,
        .cr4 = 4,
        .cr8 = 8,
        .efer = 0xd00,
        .pat = UINT64_C(0x7040600070406),
        .gdt = {5, 0x47},
        .idt = {6, 0xfff},
        .tr = 7,
        .ldtr = 9,
        .cs = 0x38,
        .ss = 0x30,
        .ds = 0x31,
        .es = 0x32,
        .fs = 0x33,
        .gs = 0x34,
        .rsp = 0xa,
        .rip = 0xb,
        .rflags = 0x202,
        .max_phys_bits = 40,
        .features = CPU_NX | CPU_SMEP | CPU_PAT,
        .vendor = "GenuineIntel",
    };
    cpu_trace(trace, "entry", &cpu);
}

static void cpu_record_has_every_register_under_its_key(void **state) {
    (void)state;
    struct recording_sink *recording = traced(write_cpu);
    assert_string_equal(
        recording_sink_body(recording, 0),
        "@c3s1 fffffff0 cpu when=entry cr0=80010033 cr2=2 cr3=3 cr4=4 cr8=8 efer=d00 "
        "pat=7040600070406 gdt_base=5 gdt_limit=47 idt_base=6 idt_limit=fff tr=7 ldtr=9 cs=38 "
        "ss=30 ds=31 es=32 fs=33 gs=34 rsp=a rip=b rflags=202 maxphyaddr=28 vendor=GenuineIntel "
        "features=nx,smep,pat");
    free(recording);
}

/* CR0, RFLAGS and EFER define bits below 32, CR4 up to 32 (SDM volume 3A, 2.2-2.5), CR8 four. */
static void write_widest_cpu(struct trace *trace) {
    struct cpu_state cpu;
    memset(&cpu, 0xff, sizeof(cpu));
    cpu.cr0 = UINT64_C(0xffffffff);
    cpu.cr4 = UINT64_C(0x1ffffffff);
    cpu.cr8 = 15;
    cpu.efer = UINT64_C(0xffffffff);
    cpu.rflags = UINT64_C(0xffffffff);
    cpu.max_phys_bits = 52;
    memcpy(cpu.vendor, "AuthenticAMD", sizeof(cpu.vendor));
    cpu_trace(trace, "handoff", &cpu);
}

static void widest_cpu_record_fits(void **state) {
    (void)state;
    struct recording_sink *recording = traced(write_widest_cpu);
    assert_non_null(
        strstr(recording->bytes, "features=nx,1g,la57,pcid,smep,smap,pku,pks,cet,pge,pat #"));
    free(recording);
}

static void write_fault(struct trace *trace) {
    const struct exception_frame frame = {
        .r15 = 0xf,
        .r14 = 0xe,
        .r13 = 0xd,
        .r12 = 0xc,
        .r11 = 0xb,
        .r10 = 0xa,
        .r9 = 9,
        .r8 = 8,
        .rbp = 7,
        .rdi = 6,
        .rsi = 5,
        .rdx = 4,
        .rcx = 3,
        .rbx = 2,
        .rax = 1,
        .vector = 14,
        .error_code = 0x11,
        .rip = 0x100,
        .cs = UINT64_C(0xabcd000000000008),
        .rflags = 0x46,
        .rsp = 0x200,
        .ss = UINT64_C(0xabcd000000000010),
    };
    exception_trace(trace, "safe-idt", &frame);
}

static void fault_record_has_every_register_under_its_key(void **state) {
    (void)state;
    struct recording_sink *recording = traced(write_fault);
    assert_string_equal(
        recording_sink_body(recording, 0),
        "@c3s1 fffffff0 fault by=safe-idt vector=e error=11 cr2=ffffffffc0de0002 "
        "cr3=fffffffffffff003 rip=100 rsp=200 rflags=46 cs=8 ss=10 rax=1 rbx=2 rcx=3 rdx=4 rsi=5 "
        "rdi=6 rbp=7 r8=8 r9=9 r10=a r11=b r12=c r13=d r14=e r15=f");
    free(recording);
}

static void write_widest_fault(struct trace *trace) {
    struct exception_frame frame;
    memset(&frame, 0xff, sizeof(frame));
    frame.vector = 255;
    frame.error_code = UINT64_C(0xffffffff);
    frame.rflags = UINT64_C(0x3fffff);
    exception_trace(trace, "safe-idt", &frame);
}

static void widest_fault_record_fits(void **state) {
    (void)state;
    struct recording_sink *recording = traced(write_widest_fault);
    assert_non_null(strstr(recording->bytes, " r15=ffffffffffffffff #"));
    free(recording);
}

static void gates_lead_to_the_stubs_by_the_selector_and_stack_asked_for(void **state) {
    (void)state;
    uint64_t gates[2 * EXCEPTION_VECTORS];
    exception_fill_idt(gates, 0x38, 3);
    for (size_t vector = 0; vector < EXCEPTION_VECTORS; vector++) {
        uint64_t low = gates[2 * vector];
        uint64_t high = gates[2 * vector + 1];
        uint64_t target = (low & 0xffff) | (low >> 48) << 16 | high << 32;
        assert_int_equal(target, (uint64_t)exception_stubs[vector]);
        assert_int_equal(low >> 16 & 0xffff, 0x38);
        assert_int_equal(low >> 32 & 0xff, 3);
        assert_int_equal(low >> 40 & 0xff, 0x8e);
        assert_int_equal(high >> 32, 0);
    }
}

static void walk_state_follows_la57_features_and_vendor(void **state) {
    (void)state;
    struct cpu_state cpu = {
        .cr0 = 1, .cr3 = 3, .cr4 = CR4_LA57, .efer = 5, .max_phys_bits = 46, .features = CPU_1G};
    struct paging_state paging;
    memcpy(cpu.vendor, "AuthenticAMD", sizeof(cpu.vendor));
    cpu_paging_state(&cpu, &paging);
    assert_int_equal(paging.cr0, 1);
    assert_int_equal(paging.cr3, 3);
    assert_int_equal(paging.cr4, CR4_LA57);
    assert_int_equal(paging.efer, 5);
    assert_int_equal(paging.max_phys_bits, 46);
    assert_int_equal(paging.levels, 5);
    assert_true(paging.has_1g_pages);
    assert_true(paging.is_amd);

    cpu.cr4 = ~CR4_LA57;
    cpu.features = ~(uint32_t)CPU_1G;
    memcpy(cpu.vendor, "GenuineIntel", sizeof(cpu.vendor));
    cpu_paging_state(&cpu, &paging);
    assert_int_equal(paging.levels, 4);
    assert_false(paging.has_1g_pages);
    assert_false(paging.is_amd);
    memcpy(cpu.vendor, "HygonGenuine", sizeof(cpu.vendor));
    cpu_paging_state(&cpu, &paging);
    assert_true(paging.is_amd);
}

static void write_entry(struct trace *trace) {
    cpu_trace_entry(trace, &(struct entry_registers){1, 2, 3, 4, UINT64_MAX});
}

static void entry_record_has_every_register(void **state) {
    (void)state;
    struct recording_sink *recording = traced(write_entry);
    assert_string_equal(recording_sink_body(recording, 0),
                        "@c3s1 fffffff0 entry rax=1 rcx=2 rdx=3 rsi=4 rdi=ffffffffffffffff");
    free(recording);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpu_record_has_every_register_under_its_key),
        cmocka_unit_test(widest_cpu_record_fits),
        cmocka_unit_test(entry_record_has_every_register),
        cmocka_unit_test(fault_record_has_every_register_under_its_key),
        cmocka_unit_test(widest_fault_record_fits),
        cmocka_unit_test(gates_lead_to_the_stubs_by_the_selector_and_stack_asked_for),
        cmocka_unit_test(walk_state_follows_la57_features_and_vendor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
