/** Preflight: one planned access walked through the new tables with the CPU's real state. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "trace/physical_memory.h"

enum access_kind { ACCESS_FETCH = 0, ACCESS_READ = 1, ACCESS_WRITE = 2 };

/** What of the CPU's state decides a walk. */
struct paging_state {
    uint64_t cr0, cr3, cr4, efer;
    unsigned max_phys_bits; /* MAXPHYADDR */
    unsigned levels;        /* 4, or 5 with CR4.LA57 */
    bool has_1g_pages;
    bool is_amd; /* G in a PML4E or PML5E is reserved */
};

struct access {
    uint64_t virt;
    uint64_t width; /* bytes, at least 1; may cross pages */
    enum access_kind kind;
    uint64_t align; /* bytes, a power of two: another virt is #GP(0); 0: any will do */
};

/** Bits of a page fault's error code (Intel SDM volume 3A, section 5.7). */
#define FAULT_PROTECTION (UINT32_C(1) << 0) /* P: set unless an entry is not present */
#define FAULT_WRITE (UINT32_C(1) << 1)
#define FAULT_USER (UINT32_C(1) << 2)
#define FAULT_RESERVED (UINT32_C(1) << 3)
#define FAULT_FETCH (UINT32_C(1) << 4)

#define VECTOR_GENERAL_PROTECTION 13
#define VECTOR_PAGE_FAULT 14

/** The exception that an access raises, and the entry to blame: the first from the top that vetoes.
 */
struct access_fault {
    uint8_t vector;      /* 14, or 13 if not canonical (through the stack 12: plan.h) */
    uint32_t error_code; /* as the architecture has it: RSVD implies P */
    uint64_t cr2;        /* 0 for vector 13, which leaves CR2 alone */
    unsigned level;      /* of the guilty entry; 0 if none (non-canonical) */
    unsigned index;
    uint64_t entry_phys;
    uint64_t entry; /* 0 where the table itself is no readable memory: taken as not present */
};

/**
 * A supervisor access (CPL 0) with RFLAGS.AC = 0; protection keys are taken to allow all.
 *
 * True if it succeeds, and *phys_ret (may be NULL) is where its first byte is; else *fault_ret says
 * why. The other one is untouched.
 */
bool access_check(const struct paging_state *state, const struct physical_memory *memory,
                  const struct access *access, uint64_t *phys_ret, struct access_fault *fault_ret)
    __attribute__((warn_unused_result));

/** Bytes that the entry covers at which the walk of a canonical virt ends: the page, or a hole. */
uint64_t access_covers(const struct paging_state *state, const struct physical_memory *memory,
                       uint64_t virt);
