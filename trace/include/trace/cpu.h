/** The CPU's state as the trace records it (`cpu` record) and as preflight needs it. */
#pragma once

#include <stdint.h>

#include "trace/preflight.h"
#include "trace/trace.h"

struct table_register {
    uint64_t base;
    uint16_t limit;
};

enum cpu_feature {
    CPU_NX = 1u << 0,
    CPU_1G = 1u << 1,
    CPU_LA57 = 1u << 2,
    CPU_PCID = 1u << 3,
    CPU_SMEP = 1u << 4,
    CPU_SMAP = 1u << 5,
    CPU_PKU = 1u << 6,
    CPU_PKS = 1u << 7,
    CPU_CET = 1u << 8,
    CPU_PGE = 1u << 9,
    CPU_PAT = 1u << 10,
};

struct cpu_state {
    uint64_t cr0, cr2, cr3, cr4, cr8, efer, pat;
    struct table_register gdt, idt;
    uint16_t tr, ldtr, cs, ss, ds, es, fs, gs;
    uint64_t rsp, rip, rflags;
    unsigned max_phys_bits;
    uint32_t features; /* enum cpu_feature */
    char vendor[13];   /* NUL-terminated */
};

/** Reads it all; rip and rsp are those of the caller. Needs CPL 0. */
void cpu_read(struct cpu_state *state_ret);
void cpu_trace(struct trace *trace, const char *when, const struct cpu_state *state);
void cpu_paging_state(const struct cpu_state *cpu, struct paging_state *state_ret);
