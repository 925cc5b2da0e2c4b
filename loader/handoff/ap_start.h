/** How the kernel starts the other CPUs: the block below 1 MiB with code and data for them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "handoff.h"

struct boot;

/** The page of data, as the code reads it; offsets are those of ap_layout.h. */
struct ap_start_data {
    struct handoff_arrival arrival;
    uint64_t cr0, cr3, cr4, efer, pat;
    uint16_t gdt_limit;
    uint16_t gdt_base[2]; /* low word first */
    uint16_t reserved;
    uint32_t jump_32; /* offset and selector of the two far jumps */
    uint32_t selector_32;
    uint32_t jump_64;
    uint32_t selector_64;
    uint64_t gdt[4];
};

/**
 * Asks for the block and says in the boot info where it lies, what the local APIC's registers are,
 * and which CPUs there are. With one CPU, or no memory below 1 MiB, there is none.
 */
void ap_start_allocate(struct boot *boot);
/** Fills the block, when the CPU's state at the switch is settled. */
void ap_start_prepare(struct boot *boot);
/** The block's data; NULL: there is no block. */
struct ap_start_data *ap_start_data(const struct boot *boot);
/** How many bytes of code are copied to the block. */
uint64_t ap_start_code_bytes(void);
/** Offset of the code behind its LIDT: for a fault. */
uint64_t ap_start_behind_lidt(void);
/** First byte of the code in the block that is not the loader's own; ap_start_code_bytes() if there
 * is none. */
uint64_t ap_start_difference(const struct boot *boot);
