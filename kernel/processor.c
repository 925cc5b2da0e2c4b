/* What another CPU does: it checks the state that the loader's code gave it, and then as the boot
 * CPU did. */
#include "checks.h"
#include "descriptors.h"
#include "finish.h"
#include "page_probe.h"
#include "processors.h"
#include "report.h"
#include "text.h"
#include "trace/control_registers.h"
#include "trace/cpu.h"

/* What the loader's code leaves off, since only long mode takes it. */
#define CR4_LATE (CR4_PCIDE | CR4_CET)

static bool check_stack(const struct processor *self) {
    const struct handoff_stacks *stacks = &self->boot->handoff->stacks;
    uint64_t rsp = (uint64_t)(uintptr_t)__builtin_frame_address(0);
    uint64_t top = stacks->virt + (self->index + 1) * stacks->stride;
    struct text detail;
    text_set(&detail, "rsp %lx, its own stack ends at %lx", rsp, top);
    bool own = rsp < top && rsp >= top - stacks->usable_bytes;
    report(own, "processor.stack", detail.bytes);
    return own;
}

static bool check_idt(const struct cpu_state *arrived) {
    struct text detail;
    uint16_t expected_limit;
    uint64_t expected = descriptors_idt(&expected_limit);
    text_set(&detail, "base %lx limit %x", arrived->idt.base, arrived->idt.limit);
    bool loaded = arrived->idt.base == expected && arrived->idt.limit == expected_limit;
    report(loaded, "processor.idt", detail.bytes);
    return loaded;
}

static void check_task(void) {
    struct text detail;
    struct cpu_state cpu;
    cpu_read(&cpu);
    uint64_t task = descriptors_loaded_task(&cpu);
    text_set(&detail, "TR's TSS is %lx, the boot CPU's is %lx", task, descriptors_task(0));
    report(task != descriptors_task(0), "processor.task", detail.bytes);
}

static void check_state(const struct processor *self) {
    const struct cpu_state *first = self->boot->cpu;
    struct cpu_state cpu;
    cpu_read(&cpu);
    struct text detail;
    text_set(&detail, "cr3 %lx, the boot CPU's is %lx", cpu.cr3, first->cr3);
    report(cpu.cr3 == first->cr3, "processor.cr3", detail.bytes);
    text_set(&detail, "cr0 %lx, the boot CPU's is %lx", cpu.cr0, first->cr0);
    report(cpu.cr0 == first->cr0, "processor.cr0", detail.bytes);
    text_set(&detail, "cr4 %lx, the boot CPU's is %lx", cpu.cr4, first->cr4);
    report(((cpu.cr4 ^ first->cr4) & ~CR4_LATE) == 0, "processor.cr4", detail.bytes);
    text_set(&detail, "efer %lx, the boot CPU's is %lx", cpu.efer, first->efer);
    report(cpu.efer == first->efer, "processor.efer", detail.bytes);
    text_set(&detail, "pat %lx, the boot CPU's is %lx", cpu.pat, first->pat);
    report(cpu.pat == first->pat, "processor.pat", detail.bytes);
}

_Noreturn void processor_run(struct processor *self) {
    self->state = PROCESSOR_ARRIVED;
    /* Nothing is reported before the CPU can take an exception. */
    struct cpu_state arrived;
    cpu_read(&arrived);
    processors_trace_task(self->boot, self->index);
    descriptors_load(self->index);
    report_on_cpu(self->index);
    bool own_stack = check_stack(self);
    bool idt = check_idt(&arrived);
    check_task();
    check_state(self);
    if (own_stack && idt) {
        check_control();
        check_segment_rights(self->boot);
        check_stacks(self->boot);
    }
    report_on_cpu(0);
    self->state = PROCESSOR_DONE;
    finish_by_halt();
}
