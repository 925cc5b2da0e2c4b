#include "handoff/descriptors.h"

#include <stddef.h>

#include "trace/exception.h"
#include "trace/paging.h"

#define GDT_ENTRIES 10u
#define IST_STACK_BYTES 8192u
#define IST_ALL 1u

/* Descriptor types (Intel SDM volume 3A, 3.4.5 and 9.2.3). */
#define DESCRIPTOR_CODE_64 UINT64_C(0x00af9b000000ffff) /* present, DPL 0, code, readable, L=1 */
#define DESCRIPTOR_DATA UINT64_C(0x00cf93000000ffff)    /* present, DPL 0, data, writable */
#define DESCRIPTOR_TSS_AVAILABLE UINT64_C(0x0000890000000000)

/* 64-bit TSS (Intel SDM volume 3A, 9.7). */
struct __attribute__((packed)) tss {
    uint32_t reserved;
    uint64_t rsp[3];
    uint64_t reserved2;
    uint64_t ist[7];
    uint64_t reserved3;
    uint16_t reserved4;
    uint16_t io_map;
};
_Static_assert(sizeof(struct tss) == TSS_BYTES, "the architecture's TSS");

struct __attribute__((packed)) pseudo_descriptor {
    uint16_t limit;
    uint64_t base;
};

/* The order is that of the pages. */
static struct {
    uint64_t idt[2 * EXCEPTION_VECTORS];
    uint64_t gdt[GDT_ENTRIES];
    struct tss tss __attribute__((aligned(128)));
} __attribute__((aligned(4096))) own;
_Static_assert(offsetof(__typeof__(own), gdt) == PAGE_BYTES, "the IDT has its page for itself");
_Static_assert(sizeof(own) == DESCRIPTOR_PAGES * PAGE_BYTES, "so have the GDT and the TSS");
static uint8_t ist_stack[IST_STACK_BYTES] __attribute__((aligned(4096)));

void descriptors_prepare(uint16_t code_selector) {
    uint64_t base = (uint64_t)&own.tss;
    own.gdt[SELECTOR_DATA / 8] = DESCRIPTOR_DATA;
    own.gdt[SELECTOR_CODE / 8] = DESCRIPTOR_CODE_64;
    own.gdt[SELECTOR_TSS / 8] = DESCRIPTOR_TSS_AVAILABLE | (sizeof(own.tss) - 1) |
                                (base & 0xffffff) << 16 | (base >> 24 & 0xff) << 56;
    own.gdt[SELECTOR_TSS / 8 + 1] = base >> 32;
    own.tss.ist[IST_ALL - 1] = (uint64_t)ist_stack + sizeof(ist_stack);
    own.tss.io_map = sizeof(own.tss); /* past the limit: no I/O map */
    exception_fill_idt(own.idt, code_selector, IST_ALL);
}

void descriptors_load(bool safe_idt) {
    struct pseudo_descriptor gdtr = {sizeof(own.gdt) - 1, (uint64_t)own.gdt};
    struct pseudo_descriptor idtr = {sizeof(own.idt) - 1, (uint64_t)own.idt};
    uint16_t data = SELECTOR_DATA;
    uint16_t task = SELECTOR_TSS;
    uint64_t code = SELECTOR_CODE;
    __asm__ volatile("lgdt %0" : : "m"(gdtr) : "memory");
    /* A far return is the one way to load CS. */
    __asm__ volatile("pushq %0\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "lretq\n\t"
                     "1:"
                     :
                     : "r"(code)
                     : "rax", "memory");
    __asm__ volatile("movw %0, %%ss\n\t"
                     "movw %0, %%ds\n\t"
                     "movw %0, %%es\n\t"
                     "movw %0, %%fs\n\t"
                     "movw %0, %%gs"
                     :
                     : "r"(data)
                     : "memory");
    __asm__ volatile("ltr %0" : : "r"(task) : "memory");
    if (safe_idt) {
        __asm__ volatile("lidt %0" : : "m"(idtr) : "memory");
    }
}

void descriptors_planned(struct cpu_state *cpu, bool safe_idt) {
    cpu->gdt = (struct table_register){(uint64_t)own.gdt, sizeof(own.gdt) - 1};
    if (safe_idt) {
        cpu->idt = (struct table_register){(uint64_t)own.idt, sizeof(own.idt) - 1};
    }
    cpu->cs = SELECTOR_CODE;
    cpu->ss = cpu->ds = cpu->es = cpu->fs = cpu->gs = SELECTOR_DATA;
    cpu->tr = SELECTOR_TSS;
}

uint64_t descriptors_first_page(void) {
    return (uint64_t)own.idt;
}

const void *descriptors_tss(void) {
    return &own.tss;
}
