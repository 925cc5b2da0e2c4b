/**
 * A GDT, a TSS and an IDT that serve across a switch: what happens until the kernel loads its own
 * is told, then the CPU halts.
 *
 * They are the caller's memory, which both address spaces map at the same address. Every gate uses
 * IST 1: a bad RSP is caught too.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "trace/cpu.h"
#include "trace/exception.h"

/* The selectors of OVMF and EDK2 in general, so that a kept firmware IDT stays usable. */
#define SELECTOR_DATA 0x30u
#define SELECTOR_CODE 0x38u
#define SELECTOR_TSS 0x40u

/* Descriptor types (Intel SDM volume 3A, 3.4.5). */
#define DESCRIPTOR_CODE_64 UINT64_C(0x00af9b000000ffff) /* present, DPL 0, code, readable, L=1 */
#define DESCRIPTOR_DATA UINT64_C(0x00cf93000000ffff)    /* present, DPL 0, data, writable */

#define SAFE_GDT_ENTRIES 10u
#define SAFE_STACK_BYTES 8192u
#define TSS_BYTES 104u

/** 64-bit TSS (Intel SDM volume 3A, 9.7). */
struct __attribute__((packed)) task_state {
    uint32_t reserved;
    uint64_t rsp[3];
    uint64_t reserved2;
    uint64_t ist[7];
    uint64_t reserved3;
    uint16_t reserved4;
    uint16_t io_map;
};

/** What is loaded, and in which order it lies: the IDT's page, that of GDT and TSS, the stack. */
struct safe_tables {
    uint64_t idt[2 * EXCEPTION_VECTORS];
    uint64_t gdt[SAFE_GDT_ENTRIES];
    uint8_t padding[48];
    struct task_state tss; /* within 128 bytes: in one page */
    uint8_t rest[4096 - 8 * SAFE_GDT_ENTRIES - 48 - TSS_BYTES];
    uint8_t stack[SAFE_STACK_BYTES - 16];
    void *context; /* right above the stack: the handler finds it from its frame */
    uint64_t unused;
};

/* The IDT's page, and that of the GDT and the TSS. */
#define SAFE_TABLES_PAGES 2u

/** Fills the tables, page aligned; nothing is loaded. code_selector: what the gates name. */
void safe_tables_fill(struct safe_tables *tables, uint16_t code_selector, void *context);
/** The context of the tables on whose stack this exception was delivered. */
void *safe_tables_context(const struct exception_frame *frame);
/** What the registers will hold after safe_tables_load, for the plan. */
void safe_tables_planned(struct safe_tables *tables, struct cpu_state *cpu, bool with_idt);

/** GDTR, TR, segment selectors and, if with_idt, IDTR. Interrupts must be off. */
void safe_tables_load(struct safe_tables *tables, bool with_idt);
