/** The last instructions of the loader (handoff.S). Never returns. */
#pragma once

#include <stdint.h>

/* What happens around mov cr3, in `flags`. handoff.S knows the numbers. */
#define HANDOFF_BREAKPOINT                                                                         \
    1u                        /* int3 before the entry: proves that an exception can be delivered  \
                               */
#define HANDOFF_INTERRUPTS 2u /* sti right before it */

/* With HANDOFF_INTERRUPTS, the interrupt that is then pending. */
#define PENDING_VECTOR 0x20

struct handoff_arguments {
    uint64_t cr3;       /* the new root */
    uint64_t stack_top; /* virt, in the new tables; the entry sees RSP = stack_top - 8 */
    uint64_t entry;     /* virt */
    uint64_t info;      /* RDI at entry: virt of struct handoff */
    uint64_t efer;      /* loaded right before mov cr3 */
    uint64_t rax, rcx;  /* at entry */
    uint64_t flags;     /* HANDOFF_* */
};

#define HANDOFF_HIDDEN __attribute__((visibility("hidden")))

/** Interrupts must be off, the descriptor tables loaded. Loads EFER, RSP, CR3, pushes 0, jumps. */
_Noreturn void handoff_jump(const struct handoff_arguments *arguments) HANDOFF_HIDDEN;

/* Addresses for the plan. The trampoline's pages hold nothing else. */
extern const char handoff_first[] HANDOFF_HIDDEN;       /* first byte of its first page */
extern const char handoff_after_cr3[] HANDOFF_HIDDEN;   /* the instruction after mov cr3 */
extern const char handoff_breakpoint[] HANDOFF_HIDDEN;  /* the int3 */
extern const char handoff_stack_write[] HANDOFF_HIDDEN; /* the push */
extern const char handoff_code_end[] HANDOFF_HIDDEN;    /* one past the jump */
extern const char handoff_end[] HANDOFF_HIDDEN;         /* one past its last page */
