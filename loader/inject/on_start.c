/* Faults on the way of the other CPUs: what they run through, and what they are given. */
#include "handoff.h"
#include "handoff/ap_layout.h"
#include "handoff/ap_start.h"
#include "inject/fault_actions.h"
#include "trace/control_registers.h"

#define ZEROED_BYTES 16u

/* As the assembler knows it: an offset in the segment, which is no linear address. */
void on_start_gdt_in_segment(const struct fault_start *start) {
    start->data->gdt_base[0] = AP_GDT;
    start->data->gdt_base[1] = 0;
}

void on_start_gdt_short(const struct fault_start *start) {
    start->data->gdt_limit = AP_SELECTOR_CODE_32 - 1;
}

void on_start_without_nxe(const struct fault_start *start) {
    start->data->efer &= ~EFER_NXE;
}

void on_start_without_lme(const struct fault_start *start) {
    start->data->efer &= ~EFER_LME;
}

void on_start_without_pae(const struct fault_start *start) {
    start->data->cr4 &= ~CR4_PAE;
}

void on_start_without_smep(const struct fault_start *start) {
    start->data->cr4 &= ~CR4_SMEP;
}

void on_start_without_wp(const struct fault_start *start) {
    start->data->cr0 &= ~CR0_WRITE_PROTECT;
}

void on_start_other_depth(const struct fault_start *start) {
    start->data->cr4 ^= CR4_LA57;
}

/* In the middle of stack 0, which nobody has come to use. */
void on_start_stack_shared(const struct fault_start *start) {
    start->start->cpus[1].stack_top =
        start->stacks->virt + start->stacks->stride - start->stacks->usable_bytes / 2;
}

/* The lowest address of its own stack, not its top. */
void on_start_stack_unmapped(const struct fault_start *start) {
    start->start->cpus[1].stack_top -= start->stacks->usable_bytes;
}

void on_start_without_lidt(const struct fault_start *start) {
    start->data->jump_64 = (uint32_t)(start->start->code.phys + start->without_lidt);
}

void on_start_code_overwritten(const struct fault_start *start) {
    __builtin_memset(start->code, 0, ZEROED_BYTES);
}

void on_start_jump_to_data(const struct fault_start *start) {
    start->data->selector_32 = AP_SELECTOR_DATA;
}

void on_start_jump_to_32_bit(const struct fault_start *start) {
    start->data->selector_64 = AP_SELECTOR_CODE_32;
}

void on_start_vector_elsewhere(const struct fault_start *start) {
    start->start->vector++;
}
