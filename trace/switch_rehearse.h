/** The rehearsal: the planned accesses made for real under the new root, one after another, and
 * back. */
#pragma once

#include "switch_state.h"
#include "trace/exception.h"

/* Without it a request that asks for a rehearsal is refused: the library stays small. */
#ifndef CR3SCOPE_NO_REHEARSAL
#define REHEARSAL_IS_BUILT true
#else
#define REHEARSAL_IS_BUILT false
#endif

/* How an access is made; switch_rehearse.S knows the numbers. */
enum probe_kind {
    PROBE_READ = 0,        /* a byte */
    PROBE_WRITE = 1,       /* a byte, of what is there, in one locked instruction */
    PROBE_WRITE_BLIND = 2, /* of what cannot be read: it cannot be written either */
    PROBE_PUSH = 3,        /* eight bytes through SS, of what is there */
    PROBE_PUSH_BLIND = 4,
    PROBE_CALL = 5,    /* of a return */
    PROBE_STEP = 6,    /* one instruction, and a trap behind it */
    PROBE_ALIGNED = 7, /* movaps from there */
};

/* Of the planned state, in the order of their names in switch_rehearse.c; switch_rehearse.S knows
 * the numbers. */
enum rehearsed_register { REHEARSED_CR0, REHEARSED_CR4, REHEARSED_EFER, REHEARSED_CR3 };

#define PROBE_WENT_THROUGH (~UINT64_C(0))

/* What goes in and comes out; switch_rehearse.S knows the places. */
struct switch_probe {
    uint64_t virt;
    uint64_t kind;
    uint64_t value;  /* that was read, or that is stored blindly */
    uint64_t vector; /* PROBE_WENT_THROUGH: none */
    uint64_t error_code, cr2, rip;
    uint64_t entered; /* 1 once the new root was in force */
    uint64_t nmis;
    uint64_t new_cr0, new_cr4, new_efer, new_cr3;
    uint64_t back_cr3; /* the copy of the top table in force */
    uint64_t old_cr0, old_cr4, old_efer, old_cr2;
    uint64_t old_rsp, old_rip;
    uint64_t vector_register[2];
    uint64_t loading; /* enum rehearsed_register */
    uint64_t cs, ss;
    uint64_t go_cr3; /* back_cr3 with the low bits of the root in force */
    uint64_t entry;
    struct switch_tables new_tables, old_tables;
};

/* Bytes of the page's first part, by switch_rehearse.S. */
#define REHEARSE_CODE_BYTES 1024u
#define REHEARSE_VECTORS 32u
#define REHEARSE_GDT_ENTRIES 128u

/** All that is needed under either root, in one page. */
struct rehearsal_page {
    uint8_t code[REHEARSE_CODE_BYTES];
    struct switch_probe probe;
    uint8_t padding[512 - sizeof(struct switch_probe)];
    uint64_t idt[2 * REHEARSE_VECTORS];
    uint64_t gdt[REHEARSE_GDT_ENTRIES];
    uint8_t stack[1024];
};

#ifndef CR3SCOPE_NO_REHEARSAL
/** Makes the page and the two roots in the scratch memory. NULL: that cannot be done, for the
 * reason in *why_ret. */
struct rehearsal_page *switch_window_make(struct switch_state *state,
                                          const struct cr3scope_request *request,
                                          struct message *why_ret);
/** Makes every step of the plan, as far as that can be done, with records, and tells what the CPU
 * refuses; each refusal that the preflight did not foresee is a finding. */
void switch_rehearse(struct switch_state *state, const struct cr3scope_request *request);
#else
static inline void switch_rehearse(struct switch_state *state,
                                   const struct cr3scope_request *request) {
    (void)state;
    (void)request;
}
#endif

/** One access under the new root, and back: all of it with interrupts off. */
EXCEPTION_ABI void rehearse_enter(struct switch_probe *probe) EXCEPTION_HIDDEN;
extern const char rehearse_code[] EXCEPTION_HIDDEN;
extern const char rehearse_stubs[] EXCEPTION_HIDDEN;
extern const char rehearse_code_end[] EXCEPTION_HIDDEN;
