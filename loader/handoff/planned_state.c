#include "handoff/planned_state.h"

#include "boot.h"
#include "handoff/switch_buffer.h"
#include "trace/control_registers.h"

#define FOREIGN_SELECTOR 0x08

static unsigned flags(const struct config *config) {
    return CR3SCOPE_WARN | CR3SCOPE_SAFE_GDT | (config->safe_idt ? CR3SCOPE_SAFE_IDT : 0) |
           (config->breakpoint ? CR3SCOPE_BREAKPOINT : 0) |
           (config->rehearse ? CR3SCOPE_REHEARSE : 0);
}

void planned_state_make(struct boot *boot) {
    struct cpu_state *planned = &boot->planned;
    boot->request = (struct cr3scope_request){
        .root = boot->space.table.root_phys,
        .stack_top = boot->info->stacks.virt + boot->info->stacks.stride,
        .entry = boot->kernel.entry,
        .arguments = {boot->info->self.virt},
        .read = boot_table,
        .read_context = boot,
        .pool_phys = boot->space.pool_phys,
        .pool_bytes = boot->space.pool_pages * PAGE_BYTES,
        .buffer = (void *)switch_buffer_first_page(),
        .buffer_bytes = switch_buffer_bytes(),
        .begun = &boot->trace,
        .flags = flags(&boot->config),
        .gate_selector = boot->config.misdeeds.foreign_selector ? FOREIGN_SELECTOR : 0,
    };
    planned->cr0 |= CR0_WRITE_PROTECT;
    if (boot->space.has_no_execute) {
        planned->efer |= EFER_NXE;
    }
    planned->cr4 &= ~CR4_PGE;
}

void planned_state_settle(struct boot *boot) {
    const struct cpu_state *planned = &boot->planned;
    boot->request.cr0 = planned->cr0;
    boot->request.cr4 = planned->cr4;
    boot->request.efer = planned->efer;
    boot->request.pat = planned->pat;
}
