/**
 * The block below 1 MiB through which the other CPUs start: a page of code, and a page of data
 * right above it. Offsets from its first byte, as plain numbers for the assembler; ap_start.c makes
 * the compiler check them.
 */
#pragma once

#define AP_DATA 0x1000
#define AP_BLOCK_BYTES 0x2000

/* struct handoff_arrival comes first: what the kernel fills in. */
#define AP_ENTRY (AP_DATA + 0)
#define AP_STACK (AP_DATA + 8)
#define AP_ARGUMENT (AP_DATA + 16)
#define AP_IDT (AP_DATA + 24)
#define AP_ARRIVAL_BYTES 40

#define AP_CR0 (AP_DATA + 40)
#define AP_CR3 (AP_DATA + 48)
#define AP_CR4 (AP_DATA + 56)
#define AP_EFER (AP_DATA + 64)
#define AP_PAT (AP_DATA + 72)
#define AP_GDT_POINTER (AP_DATA + 80)
#define AP_JUMP_32 (AP_DATA + 88)
#define AP_JUMP_64 (AP_DATA + 96)
#define AP_GDT (AP_DATA + 104)

#define AP_SELECTOR_CODE_32 0x08
#define AP_SELECTOR_DATA 0x10
#define AP_SELECTOR_CODE_64 0x18
