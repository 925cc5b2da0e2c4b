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

/* The safe IDT's page, then that of the GDT and the TSS; nothing else is in them. */
#define DESCRIPTOR_PAGES 2u

/** Fills the tables; nothing is loaded. code_selector: what the gates name. */
void descriptors_prepare(uint16_t code_selector);
/** GDTR, TR, segment selectors and, if safe_idt, IDTR. Interrupts must be off. */
void descriptors_load(bool safe_idt);
/** What the registers will hold after descriptors_load, for the plan. */
void descriptors_planned(struct cpu_state *cpu, bool safe_idt);

/** The first of the DESCRIPTOR_PAGES. */
uint64_t descriptors_first_page(void);
/** The TSS, TSS_BYTES long, in the second of them. */
const void *descriptors_tss(void);
