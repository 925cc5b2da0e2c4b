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
    bool is_amd; /* G in a PML4E is reserved */
};

struct access {
    uint64_t virt;
    uint64_t width; /* bytes, at least 1; may cross pages */
    enum access_kind kind;
};

/** The exception that an access raises, and the entry that is to blame. */
struct access_fault {
    uint8_t vector; /* 14, 13 for a non-canonical address, 12 through the stack is the caller's to say */
    uint32_t error_code;
    uint64_t cr2;
    unsigned level; /* of the guilty entry; 0 if none (non-canonical) */
    unsigned index;
    uint64_t entry_phys;
    uint64_t entry;
};

/** A supervisor access (CPL 0). True if it succeeds; else *fault_ret says why. phys_ret may be NULL. */
bool access_check(const struct paging_state *state, const struct physical_memory *memory,
                  const struct access *access, uint64_t *phys_ret, struct access_fault *fault_ret);
