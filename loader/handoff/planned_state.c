#include "handoff/planned_state.h"

#include "boot.h"
#include "handoff/descriptors.h"
#include "trace/control_registers.h"

void planned_state_make(struct boot *boot) {
    struct cpu_state *planned = &boot->planned;
    boot->arguments = (struct handoff_arguments){
        .cr3 = boot->space.table.root_phys,
        .stack_top = boot->info->stacks.virt + boot->info->stacks.stride,
        .entry = boot->kernel.entry,
        .info = boot->info->self.virt,
        .flags = boot->config.breakpoint ? HANDOFF_BREAKPOINT : 0,
    };
    descriptors_planned(planned, boot->config.safe_idt);
    planned->cr0 |= CR0_WRITE_PROTECT;
    if (boot->space.has_no_execute) {
        planned->efer |= EFER_NXE;
    }
    /* `mov cr3` spares global translations (SDM 3A, 5.10.4.1); with PGE off none is left over. */
    planned->cr4 &= ~CR4_PGE;
    planned->rip = (uint64_t)handoff_after_cr3;
}

void planned_state_settle(struct boot *boot) {
    struct cpu_state *planned = &boot->planned;
    planned->cr3 = boot->arguments.cr3;
    planned->rsp = boot->arguments.stack_top;
    planned->rflags &= ~RFLAGS_IF;
    if ((boot->arguments.flags & HANDOFF_INTERRUPTS) != 0) {
        planned->rflags |= RFLAGS_IF;
    }
    boot->arguments.efer = planned->efer;
}
