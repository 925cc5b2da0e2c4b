/** The CPU's state as the trace records it (`cpu` record) and as preflight needs it. */
#pragma once

#include <stdint.h>

#include "trace/preflight.h"
#include "trace/trace.h"

struct table_register {
    uint64_t base;
    uint16_t limit;
};

/** CPUID features that change paging. */
enum cpu_feature {
    CPU_NX = 1u << 0,
    CPU_1G = 1u << 1,
    CPU_LA57 = 1u << 2,
    CPU_PCID = 1u << 3,
    CPU_SMEP = 1u << 4,
    CPU_SMAP = 1u << 5,
    CPU_PKU = 1u << 6,
    CPU_PKS = 1u << 7,
    CPU_CET = 1u << 8, /* shadow stacks or indirect branch tracking */
    CPU_PGE = 1u << 9,
    CPU_PAT = 1u << 10,
};

/** What a kernel finds at its entry point. */
struct entry_registers {
    uint64_t rax, rcx, rdx, rsi, rdi;
};

struct cpu_state {
    uint64_t cr0, cr2, cr3, cr4, cr8, efer;
    uint64_t pat; /* 0 without CPU_PAT */
    struct table_register gdt, idt;
    uint16_t tr, ldtr, cs, ss, ds, es, fs, gs;
    uint64_t rsp, rip, rflags;
    unsigned max_phys_bits; /* MAXPHYADDR */
    uint32_t features;      /* enum cpu_feature */
    char vendor[13];        /* NUL-terminated */
};

/** Reads it all; rip and rsp are those of the caller, right after the call. Needs CPL 0. */
void cpu_read(struct cpu_state *state_ret);
/** The address of the last page fault, and the root in force. Need CPL 0. */
uint64_t cpu_read_cr2(void);
uint64_t cpu_read_cr3(void);

void cpu_write_cr0(uint64_t value);
void cpu_write_cr3(uint64_t value);
void cpu_write_cr4(uint64_t value);
void cpu_interrupts_off(void);
/** Debug status: what a single step leaves there. Need CPL 0. */
uint64_t cpu_read_dr6(void);
void cpu_write_dr6(uint64_t value);
/** Debug control: which breakpoints are on. Need CPL 0. */
uint64_t cpu_read_dr7(void);
void cpu_write_dr7(uint64_t value);
/** Calls the handler of NMIs that is in force. */
void cpu_raise_nmi(void);
/** All that caches hold goes to memory. Needs CPL 0. */
void cpu_write_back(void);
/** Interrupts off, for ever. */
__attribute__((noreturn)) void cpu_halt(void);

/** Writes the `cpu` record. `when` is "entry" or "handoff". */
void cpu_trace(struct trace *trace, const char *when, const struct cpu_state *state);
/** Writes the `entry` record, after the `cpu` record of the handoff. */
void cpu_trace_entry(struct trace *trace, const struct entry_registers *registers);
/** What of it decides a walk. */
void cpu_paging_state(const struct cpu_state *cpu, struct paging_state *state_ret);
