/** The kernel's own descriptor tables. */
#pragma once

#include <stdint.h>

struct cpu_state;

/** CPUs that have tables of their own. */
#define DESCRIPTORS_MAX_CPUS 8u
/** The selector with which each loads TR. */
#define DESCRIPTORS_SELECTOR_TSS 0x18

/** Whose TSS the other CPUs load. */
enum descriptors_sharing {
    DESCRIPTORS_OWN = 0,    /* each its own */
    DESCRIPTORS_SAME_ENTRY, /* the boot CPU's, by its own descriptor, which is busy: LTR refuses it
                             */
    DESCRIPTORS_COPIED,     /* the boot CPU's, by a descriptor of their own */
};

/** Says so of all CPUs that come to descriptors_load() later. For a fault. */
void descriptors_share(enum descriptors_sharing how);
/** Address of the TSS that descriptors_load() loads on that CPU. */
uint64_t descriptors_task(uint32_t cpu);
/** Address of the TSS that TR names by `cpu`, as its descriptor has it now; its GDT is mapped. */
uint64_t descriptors_loaded_task(const struct cpu_state *cpu);
/**
 * Loads the CPU's own GDT with its TSS, every selector, and the IDT of 256 gates; CPU 0, which is
 * the first, fills that. All gates run on an interrupt stack, so that a bad RSP is caught too;
 * those that may strike inside another handler have a second one.
 */
void descriptors_load(uint32_t cpu);
/** Base and limit of the IDT, which all CPUs share. */
uint64_t descriptors_idt(uint16_t *limit_ret);
