#include "descriptors.h"

#include <stdbool.h>
#include <stdint.h>

#include "trace/cpu.h"
#include "trace/exception.h"

#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10

#define IST_STACK_BYTES 8192
#define IST_COMMON 1u
#define IST_NESTED 2u
#define GATE_IST_SHIFT 32 /* bits 34:32 of a gate's low half (SDM volume 3A, 7.14.1) */

#define VECTOR_NMI 2u
#define VECTOR_DOUBLE_FAULT 8u
#define VECTOR_MACHINE_CHECK 18u

/** SDM volume 3A, 9.7, "Task management in 64-bit mode". */
struct task_state {
    uint32_t reserved_0;
    uint64_t rsp[3];
    uint64_t reserved_1;
    uint64_t ist[7]; /* ist[0] is IST1 */
    uint64_t reserved_2;
    uint16_t reserved_3;
    uint16_t io_map_base;
} __attribute__((packed));

struct descriptor_pointer {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

/* Ring 0, flat; accessed, so that loading a selector does not write to the table. */
#define DESCRIPTOR_CODE UINT64_C(0x00af9b000000ffff) /* 64-bit */
#define DESCRIPTOR_DATA UINT64_C(0x00cf93000000ffff)

/* Filled by code: a loader that loses initialised data shall be told so, not triple fault here. */
static struct {
    uint64_t gdt[5];
    struct task_state task_state;
    uint8_t ist_stacks[2][IST_STACK_BYTES] __attribute__((aligned(16)));
} own[DESCRIPTORS_MAX_CPUS];
static uint64_t idt[2 * EXCEPTION_VECTORS];
static enum descriptors_sharing sharing = DESCRIPTORS_OWN;

static void set_task_descriptor(uint64_t *gdt, const struct task_state *task_state) {
    uint64_t base = (uint64_t)(uintptr_t)task_state;
    uint64_t limit = sizeof(*task_state) - 1;
    gdt[DESCRIPTORS_SELECTOR_TSS / 8] = limit | (base & 0xffffff) << 16 | UINT64_C(0x89) << 40 |
                                        (base >> 24 & 0xff)
                                            << 56; /* present, available 64-bit TSS */
    gdt[DESCRIPTORS_SELECTOR_TSS / 8 + 1] = base >> 32;
}

static void use_ist(unsigned vector, unsigned ist) {
    uint64_t *low = &idt[2 * vector];
    *low = (*low & ~(UINT64_C(7) << GATE_IST_SHIFT)) | (uint64_t)ist << GATE_IST_SHIFT;
}

static void load_selectors(void) {
    __asm__ volatile("pushq %[code]\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "lretq\n"
                     "1:\n\t"
                     "movl %[data], %%eax\n\t"
                     "movl %%eax, %%ss\n\t"
                     "movl %%eax, %%ds\n\t"
                     "movl %%eax, %%es\n\t"
                     "movl %%eax, %%fs\n\t"
                     "movl %%eax, %%gs\n\t"
                     :
                     : [code] "i"(SELECTOR_CODE), [data] "i"(SELECTOR_DATA)
                     : "rax", "memory");
}

static void fill_idt(void) {
    exception_fill_idt(idt, SELECTOR_CODE, IST_COMMON);
    use_ist(VECTOR_NMI, IST_NESTED);
    use_ist(VECTOR_DOUBLE_FAULT, IST_NESTED);
    use_ist(VECTOR_MACHINE_CHECK, IST_NESTED);
}

uint64_t descriptors_idt(uint16_t *limit_ret) {
    *limit_ret = sizeof(idt) - 1;
    return (uint64_t)(uintptr_t)idt;
}

void descriptors_share(enum descriptors_sharing how) {
    sharing = how;
}

static struct task_state *task_state_of(uint32_t cpu) {
    return &own[sharing == DESCRIPTORS_OWN ? cpu : 0].task_state;
}

uint64_t descriptors_task(uint32_t cpu) {
    return (uint64_t)(uintptr_t)task_state_of(cpu);
}

uint64_t descriptors_loaded_task(const struct cpu_state *cpu) {
    const uint64_t *entry = (const uint64_t *)(uintptr_t)(cpu->gdt.base + cpu->tr);
    return (entry[0] >> 16 & 0xffffff) | (entry[0] >> 56) << 24 | entry[1] << 32;
}

static void fill(uint32_t cpu, uint64_t *gdt) {
    struct task_state *task_state = &own[cpu].task_state;
    for (unsigned i = 0; i < 2; i++) {
        task_state->ist[i] = (uint64_t)(uintptr_t)(own[cpu].ist_stacks[i] + IST_STACK_BYTES);
    }
    task_state->io_map_base = sizeof(*task_state); /* no I/O permission map */
    gdt[SELECTOR_CODE / 8] = DESCRIPTOR_CODE;
    gdt[SELECTOR_DATA / 8] = DESCRIPTOR_DATA;
    set_task_descriptor(gdt, task_state_of(cpu));
}

void descriptors_load(uint32_t cpu) {
    bool takes_first = cpu != 0 && sharing == DESCRIPTORS_SAME_ENTRY;
    uint64_t *gdt = own[takes_first ? 0 : cpu].gdt;
    if (!takes_first) {
        fill(cpu, gdt);
    }
    const struct descriptor_pointer gdtr = {sizeof(own[0].gdt) - 1, (uint64_t)(uintptr_t)gdt};
    __asm__ volatile("lgdt %0" : : "m"(gdtr));
    load_selectors();
    __asm__ volatile("ltr %w0" : : "r"(DESCRIPTORS_SELECTOR_TSS));

    if (cpu == 0) {
        fill_idt();
    }
    struct descriptor_pointer idtr;
    uint16_t limit;
    idtr.base = descriptors_idt(&limit);
    idtr.limit = limit;
    __asm__ volatile("lidt %0" : : "m"(idtr));
}
