#include "trace/cpu.h"

#include "trace/msr.h"

#define READ_CONTROL_REGISTER(name)                                                                \
    ({                                                                                             \
        uint64_t value_;                                                                           \
        __asm__ volatile("mov %%" name ", %0" : "=r"(value_));                                     \
        value_;                                                                                    \
    })

#define READ_SELECTOR(name)                                                                        \
    ({                                                                                             \
        uint16_t value_;                                                                           \
        __asm__ volatile("mov %%" name ", %0" : "=rm"(value_));                                    \
        value_;                                                                                    \
    })

/* What SGDT and SIDT store (Intel SDM volume 2, "SGDT"). */
struct __attribute__((packed)) pseudo_descriptor {
    uint16_t limit;
    uint64_t base;
};

struct cpuid_result {
    uint32_t eax, ebx, ecx, edx;
};

static struct cpuid_result cpuid(uint32_t leaf) {
    struct cpuid_result result;
    __asm__ volatile("cpuid"
                     : "=a"(result.eax), "=b"(result.ebx), "=c"(result.ecx), "=d"(result.edx)
                     : "a"(leaf), "c"(0));
    return result;
}

/* All zero, so that no feature is seen, where the CPU does not know the leaf. */
static struct cpuid_result cpuid_if_known(uint32_t leaf) {
    uint32_t highest = cpuid(leaf & 0x80000000u).eax;
    return leaf <= highest ? cpuid(leaf) : (struct cpuid_result){0, 0, 0, 0};
}

static uint32_t feature_if(uint32_t cpuid_register, unsigned bit, enum cpu_feature feature) {
    return (cpuid_register >> bit & 1) != 0 ? (uint32_t)feature : 0;
}

/* Intel SDM volume 2, "CPUID", leaves 1, 7 and 80000001h. */
static uint32_t read_features(void) {
    struct cpuid_result basic = cpuid_if_known(1);
    struct cpuid_result structured = cpuid_if_known(7);
    struct cpuid_result extended = cpuid_if_known(0x80000001u);
    return feature_if(basic.edx, 13, CPU_PGE) | feature_if(basic.edx, 16, CPU_PAT) |
           feature_if(basic.ecx, 17, CPU_PCID) | feature_if(structured.ebx, 7, CPU_SMEP) |
           feature_if(structured.ebx, 20, CPU_SMAP) | feature_if(structured.ecx, 3, CPU_PKU) |
           feature_if(structured.ecx, 7, CPU_CET) | feature_if(structured.edx, 20, CPU_CET) |
           feature_if(structured.ecx, 16, CPU_LA57) | feature_if(structured.ecx, 31, CPU_PKS) |
           feature_if(extended.edx, 20, CPU_NX) | feature_if(extended.edx, 26, CPU_1G);
}

/* Without leaf 80000008h a CPU with PAE has 36 bits (Intel SDM volume 3A, section 5.1.4). */
static unsigned read_max_phys_bits(void) {
    unsigned bits = cpuid_if_known(0x80000008u).eax & 0xff;
    return bits != 0 ? bits : 36;
}

static void read_vendor(char vendor_ret[13]) {
    struct cpuid_result leaf = cpuid(0);
    const uint32_t words[3] = {leaf.ebx, leaf.edx, leaf.ecx};
    for (unsigned i = 0; i < 12; i++) {
        vendor_ret[i] = (char)(words[i / 4] >> (8 * (i % 4)) & 0xff);
    }
    vendor_ret[12] = '\0';
}

uint64_t cpu_read_cr2(void) {
    return READ_CONTROL_REGISTER("cr2");
}

uint64_t cpu_read_cr3(void) {
    return READ_CONTROL_REGISTER("cr3");
}

/* Not inlined: rip and rsp are taken from this function's own frame. */
__attribute__((noinline)) void cpu_read(struct cpu_state *state_ret) {
    struct pseudo_descriptor gdt;
    struct pseudo_descriptor idt;
    __asm__ volatile("sgdt %0" : "=m"(gdt));
    __asm__ volatile("sidt %0" : "=m"(idt));
    __asm__ volatile("str %0" : "=rm"(state_ret->tr));
    __asm__ volatile("sldt %0" : "=rm"(state_ret->ldtr));
    state_ret->rflags = __builtin_ia32_readeflags_u64(); /* by hand a push would meet a red zone */

    state_ret->cr0 = READ_CONTROL_REGISTER("cr0");
    state_ret->cr2 = cpu_read_cr2();
    state_ret->cr3 = cpu_read_cr3();
    state_ret->cr4 = READ_CONTROL_REGISTER("cr4");
    state_ret->cr8 = READ_CONTROL_REGISTER("cr8");
    state_ret->efer = msr_read(MSR_EFER);
    state_ret->gdt.base = gdt.base;
    state_ret->gdt.limit = gdt.limit;
    state_ret->idt.base = idt.base;
    state_ret->idt.limit = idt.limit;
    state_ret->cs = READ_SELECTOR("cs");
    state_ret->ss = READ_SELECTOR("ss");
    state_ret->ds = READ_SELECTOR("ds");
    state_ret->es = READ_SELECTOR("es");
    state_ret->fs = READ_SELECTOR("fs");
    state_ret->gs = READ_SELECTOR("gs");
    state_ret->rip = (uint64_t)__builtin_return_address(0);
    /* Above the frame pointer lie the saved one and the return address. */
    state_ret->rsp = (uint64_t)__builtin_frame_address(0) + 16;
    state_ret->max_phys_bits = read_max_phys_bits();
    state_ret->features = read_features();
    state_ret->pat = (state_ret->features & CPU_PAT) != 0 ? msr_read(MSR_PAT) : 0;
    read_vendor(state_ret->vendor);
}
