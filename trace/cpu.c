#include "trace/cpu.h"

#include "trace/control_registers.h"

struct feature_name {
    uint32_t feature; /* enum cpu_feature */
    char name[8];
};

static const struct feature_name feature_names[] = {
    {CPU_NX, "nx"},     {CPU_1G, "1g"},     {CPU_LA57, "la57"}, {CPU_PCID, "pcid"},
    {CPU_SMEP, "smep"}, {CPU_SMAP, "smap"}, {CPU_PKU, "pku"},   {CPU_PKS, "pks"},
    {CPU_CET, "cet"},   {CPU_PGE, "pge"},   {CPU_PAT, "pat"},
};

static void trace_features(struct trace *trace, uint32_t features) {
    trace_list(trace, "features");
    for (size_t i = 0; i < sizeof(feature_names) / sizeof(feature_names[0]); i++) {
        bool has = (features & feature_names[i].feature) != 0;
        if (has && !trace_item(trace, feature_names[i].name)) {
            trace->overflow = true;
        }
    }
}

static const char control_names[][5] = {"cr0", "cr2", "cr3", "cr4", "cr8", "efer", "pat"};
static const char selector_names[][5] = {"tr", "ldtr", "cs", "ss", "ds", "es", "fs", "gs"};

void cpu_trace(struct trace *trace, const char *when, const struct cpu_state *state) {
    const uint64_t control[] = {state->cr0, state->cr2,  state->cr3, state->cr4,
                                state->cr8, state->efer, state->pat};
    const uint16_t selectors[] = {state->tr, state->ldtr, state->cs, state->ss,
                                  state->ds, state->es,   state->fs, state->gs};
    trace_open(trace, "cpu");
    trace_text(trace, "when", when);
    for (size_t i = 0; i < sizeof(control) / sizeof(control[0]); i++) {
        trace_hex(trace, control_names[i], control[i]);
    }
    trace_hex(trace, "gdt_base", state->gdt.base);
    trace_hex(trace, "gdt_limit", state->gdt.limit);
    trace_hex(trace, "idt_base", state->idt.base);
    trace_hex(trace, "idt_limit", state->idt.limit);
    for (size_t i = 0; i < sizeof(selectors) / sizeof(selectors[0]); i++) {
        trace_hex(trace, selector_names[i], selectors[i]);
    }
    trace_hex(trace, "rsp", state->rsp);
    trace_hex(trace, "rip", state->rip);
    trace_hex(trace, "rflags", state->rflags);
    trace_hex(trace, "maxphyaddr", state->max_phys_bits);
    trace_text(trace, "vendor", state->vendor);
    trace_features(trace, state->features);
    trace_close(trace);
}

void cpu_trace_entry(struct trace *trace, const struct entry_registers *registers) {
    trace_open(trace, "entry");
    trace_hex(trace, "rax", registers->rax);
    trace_hex(trace, "rcx", registers->rcx);
    trace_hex(trace, "rdx", registers->rdx);
    trace_hex(trace, "rsi", registers->rsi);
    trace_hex(trace, "rdi", registers->rdi);
    trace_close(trace);
}

static bool vendor_is(const struct cpu_state *cpu, const char *name) {
    for (size_t i = 0; i < sizeof(cpu->vendor); i++) {
        if (cpu->vendor[i] != name[i]) {
            return false;
        }
        if (name[i] == '\0') {
            return true;
        }
    }
    return true;
}

void cpu_paging_state(const struct cpu_state *cpu, struct paging_state *state_ret) {
    state_ret->cr0 = cpu->cr0;
    state_ret->cr3 = cpu->cr3;
    state_ret->cr4 = cpu->cr4;
    state_ret->efer = cpu->efer;
    state_ret->max_phys_bits = cpu->max_phys_bits;
    state_ret->levels = (cpu->cr4 & CR4_LA57) != 0 ? 5 : 4;
    state_ret->has_1g_pages = (cpu->features & CPU_1G) != 0;
    /* Hygon's cores are AMD's design and follow its manual. */
    state_ret->is_amd = vendor_is(cpu, "AuthenticAMD") || vendor_is(cpu, "HygonGenuine");
}
