/* Faults on the values that the last instructions load: CR3, RSP, the entry. */
#include "fault_actions.h"
#include "handoff.h"
#include "handoff_jump.h"
#include "trace/paging.h"

/* The sign extension of a kernel address, and what is left if it is lost. */
#define WITHOUT_SIGN_EXTENSION UINT64_C(0x0000ffffffffffff)

void stack_top_one_page_high(struct handoff_arguments *arguments) {
    arguments->stack_top += PAGE_BYTES;
}

/* The lowest address of the stack's own pages: the first push goes to the guard page. */
void stack_top_at_guard(struct handoff_arguments *arguments) {
    arguments->stack_top = HANDOFF_STACKS_VIRT + PAGE_BYTES;
}

void stack_top_not_canonical(struct handoff_arguments *arguments) {
    arguments->stack_top &= WITHOUT_SIGN_EXTENSION;
}

void entry_zero(struct handoff_arguments *arguments) {
    arguments->entry = 0;
}

void entry_in_data(struct handoff_arguments *arguments) {
    arguments->entry = arguments->info;
}

void entry_not_canonical(struct handoff_arguments *arguments) {
    arguments->entry &= WITHOUT_SIGN_EXTENSION;
}

/* One page on: in the pool that is the next table, on the way to the kernel. */
void root_is_no_table(struct handoff_arguments *arguments) {
    arguments->cr3 += PAGE_BYTES;
}
