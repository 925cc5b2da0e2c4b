/* Faults on the values that the last instructions load: CR3, RSP, the entry, its registers. */
#include "handoff.h"
#include "handoff/handoff_jump.h"
#include "inject/fault_actions.h"
#include "trace/cpu.h"
#include "trace/paging.h"

/* What is left of a kernel address if its sign extension is lost: not canonical with 4 levels, nor
 * with 5. */
#define WITHOUT_SIGN_EXTENSION UINT64_C(0x01ffffffffffffff)
#define LINKER_DEFAULT UINT64_C(0x401000)
/* Beyond MAXPHYADDR on every CPU but those with all 52 bits. */
#define HIGH_FRAME_BIT (UINT64_C(1) << 51)
#define CR3_PWT_PCD UINT64_C(0x18)

void on_handoff_stack_top_one_page_high(struct handoff_arguments *arguments) {
    arguments->stack_top += PAGE_BYTES;
}

/* The lowest address of the stack's own pages: the first push goes to the guard page. */
void on_handoff_stack_top_at_guard(struct handoff_arguments *arguments) {
    arguments->stack_top = HANDOFF_STACKS_VIRT + PAGE_BYTES;
}

void on_handoff_stack_top_not_canonical(struct handoff_arguments *arguments) {
    arguments->stack_top &= WITHOUT_SIGN_EXTENSION;
}

void on_handoff_stack_top_misaligned(struct handoff_arguments *arguments) {
    arguments->stack_top -= sizeof(uint64_t);
}

void on_handoff_entry_zero(struct handoff_arguments *arguments) {
    arguments->entry = 0;
}

void on_handoff_entry_linker_default(struct handoff_arguments *arguments) {
    arguments->entry = LINKER_DEFAULT;
}

void on_handoff_entry_in_data(struct handoff_arguments *arguments) {
    arguments->entry = arguments->info;
}

void on_handoff_entry_not_canonical(struct handoff_arguments *arguments) {
    arguments->entry &= WITHOUT_SIGN_EXTENSION;
}

/* Zero bytes are `add [rax], al`: they run where RAX may be written to. */
void on_handoff_entry_over_writable_rax(struct handoff_arguments *arguments) {
    arguments->rax = HANDOFF_STACKS_VIRT + PAGE_BYTES;
}

void on_handoff_info_not_canonical(struct handoff_arguments *arguments) {
    arguments->info &= WITHOUT_SIGN_EXTENSION;
}

/* The first argument where the Microsoft convention has it. */
void on_handoff_info_in_rcx(struct handoff_arguments *arguments) {
    arguments->rcx = arguments->info;
    arguments->info = 0;
}

/* One page on: in the pool that is the next table, on the way to the kernel. */
void on_handoff_root_is_no_table(struct handoff_arguments *arguments) {
    arguments->cr3 += PAGE_BYTES;
}

void on_handoff_root_of_firmware(struct handoff_arguments *arguments) {
    arguments->cr3 = cpu_read_cr3();
}

void on_handoff_root_with_cache_flags(struct handoff_arguments *arguments) {
    arguments->cr3 |= CR3_PWT_PCD;
}

void on_handoff_root_beyond_physical_memory(struct handoff_arguments *arguments) {
    arguments->cr3 |= HIGH_FRAME_BIT;
}

void on_handoff_interrupts_on(struct handoff_arguments *arguments) {
    arguments->flags |= HANDOFF_INTERRUPTS;
}
