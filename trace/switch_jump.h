/** The last instructions before a kernel runs, and their addresses for the plan (switch_jump.S). */
#pragma once

#include <stdint.h>

#include "trace/exception.h"

/* What happens around mov cr3, in `flags`. switch_jump.S knows the numbers. */
#define SWITCH_JUMP_BREAKPOINT 1u /* int3 before the entry */
#define SWITCH_JUMP_INTERRUPTS 2u /* sti right before it */

/* Everything in registers before mov cr3: behind it this structure may be out of reach. */
struct switch_target {
    uint64_t cr3;   /* the new root */
    uint64_t rsp;   /* virt, in the new tables; the entry sees this minus 8 */
    uint64_t entry; /* virt */
    uint64_t efer;  /* loaded right before mov cr3 */
    uint64_t flags; /* SWITCH_JUMP_* */
    uint64_t rax, rcx, rdx, rsi, rdi, r8, r9; /* at entry */
};

/* What LGDT and LIDT take, each behind six bytes that align it. */
struct switch_tables {
    uint16_t gdt_padding[3], gdt_limit;
    uint64_t gdt_base;
    uint16_t idt_padding[3], idt_limit;
    uint64_t idt_base;
    uint64_t with_idt;
};

/** Interrupts must be off, the descriptor tables loaded. Loads EFER, RSP, CR3, pushes 0, jumps. */
__attribute__((noreturn)) EXCEPTION_ABI void
switch_jump(const struct switch_target *jump) EXCEPTION_HIDDEN;
/** The GDT, its code, data and TSS selectors (safe_tables.h) and, if asked, the IDT. */
EXCEPTION_ABI void switch_load_tables(const struct switch_tables *tables) EXCEPTION_HIDDEN;

/** Reads eight bytes at virt, with interrupts off and the IDT of `guarded` in force, back to that
 * of `now`: 1, or 0 if that raises an exception. */
EXCEPTION_ABI unsigned switch_try_read(uint64_t virt, uint64_t *value_ret,
                                       const struct switch_tables *guarded,
                                       const struct switch_tables *now) EXCEPTION_HIDDEN;
/* Where the gates of `guarded` lead: an exception of the read, and an NMI. */
extern const char switch_try_read_end[] EXCEPTION_HIDDEN;
extern const char switch_try_read_nmi[] EXCEPTION_HIDDEN;

extern const char switch_first[] EXCEPTION_HIDDEN;       /* of the code, in one page */
extern const char switch_after_cr3[] EXCEPTION_HIDDEN;   /* the instruction after mov cr3 */
extern const char switch_stack_write[] EXCEPTION_HIDDEN; /* the push */
extern const char switch_breakpoint[] EXCEPTION_HIDDEN;  /* the int3 */
extern const char switch_code_end[] EXCEPTION_HIDDEN;    /* one past the jump */
