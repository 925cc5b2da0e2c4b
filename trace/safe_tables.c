#include "trace/safe_tables.h"

#include "switch_jump.h"
#include "trace/paging.h"

#define IST_ALL 1u

/* Intel SDM volume 3A, 9.2.3. */
#define DESCRIPTOR_TSS_AVAILABLE UINT64_C(0x0000890000000000)

typedef char task_state_is_the_architectures[sizeof(struct task_state) == TSS_BYTES ? 1 : -1];
typedef char safe_tables_are_whole_pages
    [sizeof(struct safe_tables) == SAFE_TABLES_PAGES * PAGE_BYTES + SAFE_STACK_BYTES ? 1 : -1];

void safe_tables_fill(struct safe_tables *tables, uint16_t code_selector, void *context) {
    uint64_t base = (uint64_t)&tables->tss;
    uint64_t stack_top = (uint64_t)&tables->context;
    __builtin_memset(tables, 0, sizeof(*tables));
    tables->gdt[SELECTOR_DATA / 8] = DESCRIPTOR_DATA;
    tables->gdt[SELECTOR_CODE / 8] = DESCRIPTOR_CODE_64;
    tables->gdt[SELECTOR_TSS / 8] = DESCRIPTOR_TSS_AVAILABLE | (TSS_BYTES - 1) |
                                    (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
    tables->gdt[SELECTOR_TSS / 8 + 1] = base >> 32;
    tables->tss.ist[IST_ALL - 1] = stack_top;
    tables->tss.io_map = TSS_BYTES; /* past the limit: no I/O map */
    tables->context = context;
    exception_fill_idt(tables->idt, code_selector, IST_ALL);
}

void *safe_tables_context(const struct exception_frame *frame) {
    /* The CPU pushed SS first, right below the top (Intel SDM volume 3A, 7.14.2). */
    return *(void *const *)(const void *)(frame + 1);
}

void safe_tables_planned(struct safe_tables *tables, struct cpu_state *cpu, bool with_idt) {
    cpu->gdt.base = (uint64_t)tables->gdt;
    cpu->gdt.limit = sizeof(tables->gdt) - 1;
    if (with_idt) {
        cpu->idt.base = (uint64_t)tables->idt;
        cpu->idt.limit = sizeof(tables->idt) - 1;
    }
    cpu->cs = SELECTOR_CODE;
    cpu->ss = cpu->ds = cpu->es = cpu->fs = cpu->gs = SELECTOR_DATA;
    cpu->tr = SELECTOR_TSS;
}

void safe_tables_load(struct safe_tables *tables, bool with_idt) {
    struct switch_tables load;
    load.gdt_limit = sizeof(tables->gdt) - 1;
    load.gdt_base = (uint64_t)tables->gdt;
    load.idt_limit = sizeof(tables->idt) - 1;
    load.idt_base = (uint64_t)tables->idt;
    load.with_idt = with_idt ? 1 : 0;
    switch_load_tables(&load);
}
