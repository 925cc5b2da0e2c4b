#include "handoff/ap_start.h"

#include <stddef.h>

#include "boot.h"
#include "handoff/ap_layout.h"
#include "trace/control_registers.h"
#include "trace/msr.h"
#include "trace/paging.h"

/* A start-up interrupt names a page below 1 MiB; A0h to BFh are reserved (SDM volume 3A, 12.6.1).
 */
#define START_LIMIT UINT64_C(0xa0000)
#define PAGE_SHIFT 12

/* Intel SDM volume 3A, 12.4.4. */
#define IA32_APIC_BASE 0x1bu
#define APIC_BASE_ENABLED (UINT64_C(1) << 11)
#define APIC_BASE_X2APIC (UINT64_C(1) << 10)

/* Ring 0, flat; accessed, so that loading a selector does not write to the table. */
#define DESCRIPTOR_CODE_32 UINT64_C(0x00cf9b000000ffff)
#define DESCRIPTOR_DATA UINT64_C(0x00cf93000000ffff)
#define DESCRIPTOR_CODE_64 UINT64_C(0x00af9b000000ffff)

#define IS_AT(field, offset)                                                                       \
    _Static_assert(AP_DATA + offsetof(struct ap_start_data, field) == (offset), #field)
IS_AT(arrival.entry, AP_ENTRY);
IS_AT(arrival.stack_top, AP_STACK);
IS_AT(arrival.argument, AP_ARGUMENT);
IS_AT(arrival.idt_limit, AP_IDT);
IS_AT(cr0, AP_CR0);
IS_AT(cr3, AP_CR3);
IS_AT(cr4, AP_CR4);
IS_AT(efer, AP_EFER);
IS_AT(pat, AP_PAT);
IS_AT(gdt_limit, AP_GDT_POINTER);
IS_AT(jump_32, AP_JUMP_32);
IS_AT(jump_64, AP_JUMP_64);
IS_AT(gdt, AP_GDT);
_Static_assert(sizeof(struct handoff_arrival) == AP_ARRIVAL_BYTES, "arrival");

extern const uint8_t ap_code[] __attribute__((visibility("hidden")));
extern const uint8_t ap_code_32[] __attribute__((visibility("hidden")));
extern const uint8_t ap_code_64[] __attribute__((visibility("hidden")));
extern const uint8_t ap_code_lidt_end[] __attribute__((visibility("hidden")));
extern const uint8_t ap_code_end[] __attribute__((visibility("hidden")));

static void name_cpus(struct boot *boot) {
    struct handoff_start *start = &boot->info->start;
    const struct handoff_stacks *stacks = &boot->info->stacks;
    start->cpu_count =
        boot->apic_id_count < boot->cpu_count ? boot->apic_id_count : boot->cpu_count;
    for (uint32_t i = 0; i < start->cpu_count; i++) {
        start->cpus[i] =
            (struct handoff_cpu){boot->apic_ids[i], i, stacks->virt + (i + 1) * stacks->stride};
    }
}

static void name_local_apic(struct handoff_start *start) {
    uint64_t base = msr_read(IA32_APIC_BASE);
    if ((base & (APIC_BASE_ENABLED | APIC_BASE_X2APIC)) == APIC_BASE_ENABLED) {
        start->local_apic =
            (struct handoff_range){HANDOFF_LOCAL_APIC_VIRT, base & ENTRY_FRAME_MASK, PAGE_BYTES};
    }
}

void ap_start_allocate(struct boot *boot) {
    struct handoff_start *start = &boot->info->start;
    struct message why;
    uint64_t phys;
    name_cpus(boot);
    if (start->cpu_count < 2 ||
        !boot->pages.allocate_below(boot->pages.context, "the other CPUs' start",
                                    AP_BLOCK_BYTES / PAGE_BYTES, START_LIMIT, &phys, &why)) {
        return;
    }
    start->code = (struct handoff_range){phys, phys, AP_DATA};
    start->data = (struct handoff_range){phys + AP_DATA, phys + AP_DATA, AP_BLOCK_BYTES - AP_DATA};
    start->vector = (uint32_t)(phys >> PAGE_SHIFT);
    name_local_apic(start);
}

struct ap_start_data *ap_start_data(const struct boot *boot) {
    const struct handoff_range *data = &boot->info->start.data;
    return data->bytes == 0 ? NULL : (struct ap_start_data *)(uintptr_t)data->phys;
}

uint64_t ap_start_code_bytes(void) {
    return (uint64_t)(ap_code_end - ap_code);
}

uint64_t ap_start_behind_lidt(void) {
    return (uint64_t)(ap_code_lidt_end - ap_code);
}

void ap_start_prepare(struct boot *boot) {
    struct ap_start_data *data = ap_start_data(boot);
    if (data == NULL) {
        return;
    }
    const struct cpu_state *planned = &boot->planned;
    uint32_t block = (uint32_t)boot->info->start.code.phys;
    uint32_t gdt = block + AP_GDT;
    __builtin_memcpy((void *)(uintptr_t)boot->info->start.code.phys, ap_code,
                     ap_start_code_bytes());
    data->cr0 = planned->cr0;
    data->cr3 = boot->request.root;
    /* What only a CPU in long mode may set stays off: no page is refused for want of it. */
    data->cr4 = planned->cr4 & ~(CR4_PCIDE | CR4_CET);
    data->efer = planned->efer & ~EFER_LMA;
    data->pat = planned->pat;
    data->gdt_limit = sizeof(data->gdt) - 1;
    data->gdt_base[0] = (uint16_t)gdt;
    data->gdt_base[1] = (uint16_t)(gdt >> 16);
    data->jump_32 = block + (uint32_t)(ap_code_32 - ap_code);
    data->selector_32 = AP_SELECTOR_CODE_32;
    data->jump_64 = block + (uint32_t)(ap_code_64 - ap_code);
    data->selector_64 = AP_SELECTOR_CODE_64;
    data->gdt[AP_SELECTOR_CODE_32 / 8] = DESCRIPTOR_CODE_32;
    data->gdt[AP_SELECTOR_DATA / 8] = DESCRIPTOR_DATA;
    data->gdt[AP_SELECTOR_CODE_64 / 8] = DESCRIPTOR_CODE_64;
}

uint64_t ap_start_difference(const struct boot *boot) {
    const uint8_t *copy = (const uint8_t *)(uintptr_t)boot->info->start.code.phys;
    uint64_t at = 0;
    while (at < ap_start_code_bytes() && copy[at] == ap_code[at]) {
        at++;
    }
    return at;
}
