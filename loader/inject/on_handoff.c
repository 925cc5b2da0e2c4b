/* Faults on the values that the last instructions load: CR3, RSP, the entry, its registers. */
#include "handoff.h"
#include "inject/fault_actions.h"
#include "trace/cpu.h"
#include "trace/paging.h"
#include "trace/switch.h"

/* What is left of a kernel address if its sign extension is lost: not canonical with 4 levels, nor
 * with 5. */
#define WITHOUT_SIGN_EXTENSION UINT64_C(0x01ffffffffffffff)
#define LINKER_DEFAULT UINT64_C(0x401000)
/* Beyond MAXPHYADDR on every CPU but those with all 52 bits. */
#define HIGH_FRAME_BIT (UINT64_C(1) << 51)
#define CR3_PWT_PCD UINT64_C(0x18)

void on_handoff_stack_top_one_page_high(struct cr3scope_request *request) {
    request->stack_top += PAGE_BYTES;
}

/* The lowest address of the stack's own pages: the first push goes to the guard page. */
void on_handoff_stack_top_at_guard(struct cr3scope_request *request) {
    request->stack_top = HANDOFF_STACKS_VIRT + PAGE_BYTES;
}

void on_handoff_stack_top_not_canonical(struct cr3scope_request *request) {
    request->stack_top &= WITHOUT_SIGN_EXTENSION;
}

void on_handoff_stack_top_misaligned(struct cr3scope_request *request) {
    request->stack_top -= sizeof(uint64_t);
}

void on_handoff_entry_zero(struct cr3scope_request *request) {
    request->entry = 0;
}

void on_handoff_entry_linker_default(struct cr3scope_request *request) {
    request->entry = LINKER_DEFAULT;
}

void on_handoff_entry_in_data(struct cr3scope_request *request) {
    request->entry = request->arguments[0];
}

void on_handoff_entry_not_canonical(struct cr3scope_request *request) {
    request->entry &= WITHOUT_SIGN_EXTENSION;
}

/* Zero bytes are `add [rax], al`: they run where RAX may be written to. */
void on_handoff_entry_over_writable_rax(struct cr3scope_request *request) {
    request->rax = HANDOFF_STACKS_VIRT + PAGE_BYTES;
}

void on_handoff_info_not_canonical(struct cr3scope_request *request) {
    request->arguments[0] &= WITHOUT_SIGN_EXTENSION;
}

/* The first argument where the Microsoft convention has it. */
void on_handoff_info_in_rcx(struct cr3scope_request *request) {
    request->arguments[3] = request->arguments[0];
    request->arguments[0] = 0;
}

/* One page on: in the pool that is the next table, on the way to the kernel. */
void on_handoff_root_is_no_table(struct cr3scope_request *request) {
    request->root += PAGE_BYTES;
}

void on_handoff_root_of_firmware(struct cr3scope_request *request) {
    request->root = cpu_read_cr3();
}

void on_handoff_root_with_cache_flags(struct cr3scope_request *request) {
    request->root |= CR3_PWT_PCD;
}

void on_handoff_root_beyond_physical_memory(struct cr3scope_request *request) {
    request->root |= HIGH_FRAME_BIT;
}

void on_handoff_interrupts_on(struct cr3scope_request *request) {
    request->flags |= CR3SCOPE_INTERRUPTS;
}
