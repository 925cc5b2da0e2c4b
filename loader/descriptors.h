/**
 * The loader's own GDT, TSS and the safe IDT: what is in force across the switch.
 *
 * They lie in the loader's data, which both address spaces map at the same address, so they serve
 * before and after `mov cr3`. Every gate uses IST 1: a bad RSP is caught too.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "trace/cpu.h"

/* The firmware's selectors (OVMF and EDK2 in general), so that a kept firmware IDT stays usable. */
#define SELECTOR_DATA 0x30u
#define SELECTOR_CODE 0x38u
#define SELECTOR_TSS 0x40u

#define TSS_BYTES 104u

/** Fills the tables; nothing is loaded. */
void descriptors_prepare(void);
/** GDTR, TR, segment selectors and, if safe_idt, IDTR. Interrupts must be off. */
void descriptors_load(bool safe_idt);
/** What the registers will hold after descriptors_load, for the plan. */
void descriptors_planned(struct cpu_state *cpu, bool safe_idt);

/** The page that holds the safe IDT alone. */
uint64_t descriptors_idt_page(void);
const void *descriptors_tss(void);
