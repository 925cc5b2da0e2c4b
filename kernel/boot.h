/** What every check is given: the boot info and what entry.S saw. */
#pragma once

#include <stdint.h>

#include "handoff.h"

/** On the stack of entry.S; the loader's return address is the word that RSP pointed to at entry.
 */
struct entry_state {
    uint64_t bss_nonzero; /* address of the first word of BSS that was not zero, 0: none */
    uint64_t rflags;      /* at entry */
    uint64_t rbp;
    uint64_t return_address;
};

struct cpu_state;

/** Initialised data that entry.S inverted once. */
extern uint64_t entry_data;

struct boot {
    const struct handoff *handoff;
    const struct entry_state *entry;
    const struct cpu_state *cpu; /* the boot CPU's, at entry */
};
