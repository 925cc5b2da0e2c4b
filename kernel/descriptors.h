/** The kernel's own descriptor tables. */
#pragma once

#include <stdint.h>

/** CPUs that have tables of their own. */
#define DESCRIPTORS_MAX_CPUS 8u

/**
 * Loads the CPU's own GDT with its TSS, every selector, and the IDT of 256 gates; CPU 0, which is
 * the first, fills that. All gates run on an interrupt stack, so that a bad RSP is caught too;
 * those that may strike inside another handler have a second one.
 */
void descriptors_load(uint32_t cpu);
/** Base and limit of the IDT, which all CPUs share. */
uint64_t descriptors_idt(uint16_t *limit_ret);
