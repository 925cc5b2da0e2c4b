#include "evidence/rehearsal.h"

#include "boot.h"

static void make_plan(struct boot *boot) {
    const struct handoff *info = boot->info;
    uint64_t flags = boot->arguments.flags;
    const struct plan_addresses addresses = {
        .after_cr3 = (uint64_t)handoff_after_cr3,
        .breakpoint = (flags & HANDOFF_BREAKPOINT) != 0 ? (uint64_t)handoff_breakpoint : 0,
        .pending_vector = (flags & HANDOFF_INTERRUPTS) != 0 ? PENDING_VECTOR : -1,
        .stack_write = (uint64_t)handoff_stack_write,
        .code_end = (uint64_t)handoff_code_end,
        .stack_top = boot->arguments.stack_top,
        .entry = boot->arguments.entry,
        .info = boot->arguments.info,
        .memory_map = info->memory_map.virt,
        .initrd = info->initrd.virt,
        .framebuffer = info->framebuffer.range.virt,
        .framebuffer_bytes = info->framebuffer.range.bytes,
    };
    access_plan_make(&boot->plan, &addresses, &boot->kernel);
}

static void trace_fault(struct boot *boot, const struct access_fault *fault) {
    trace_hex(&boot->trace, "vector", fault->vector);
    trace_hex(&boot->trace, "error", fault->error_code);
    trace_hex(&boot->trace, "cr2", fault->cr2);
    if (fault->level != 0) {
        trace_hex(&boot->trace, "level", fault->level);
        trace_hex(&boot->trace, "index", fault->index);
        trace_hex(&boot->trace, "entry", fault->entry_phys);
        trace_hex(&boot->trace, "value", fault->entry);
    }
}

static void describe(struct message *line, size_t number, const struct plan_step *step,
                     const struct access_fault *fault) {
    message_start(line, "preflight: step ");
    message_decimal(line, number);
    message_text(line, " (");
    message_name(line, step->name, PLAN_NAME_BYTES); /* it may come from the kernel's file */
    message_text(line, ") will fault: vector ");
    message_decimal(line, fault->vector);
    message_text(line, " error ");
    message_hex(line, fault->error_code);
    message_text(line, " at ");
    message_hex(line, fault->vector == VECTOR_PAGE_FAULT ? fault->cr2 : step->access.virt);
    if (fault->level != 0) {
        message_text(line, ", level ");
        message_decimal(line, fault->level);
        message_text(line, " entry ");
        message_decimal(line, fault->index);
        message_text(line, " = ");
        message_hex(line, fault->entry);
    }
}

void rehearsal_run(struct boot *boot, size_t *faults_ret,
                   void (*tell)(void *context, const char *line), void *context) {
    struct physical_memory memory = boot_memory_noted(boot);
    struct paging_state paging;
    size_t faults = 0;
    make_plan(boot);
    cpu_trace(&boot->trace, "handoff", &boot->planned);
    cpu_trace_entry(&boot->trace, &(struct entry_registers){.rax = boot->arguments.rax,
                                                            .rcx = boot->arguments.rcx,
                                                            .rdi = boot->arguments.info});
    access_plan_trace(&boot->plan, &boot->trace);
    cpu_paging_state(&boot->planned, &paging);
    for (size_t i = 0; i < boot->plan.count; i++) {
        struct access_fault fault;
        bool ok = access_check(&paging, &memory, &boot->plan.steps[i].access, NULL, &fault);
        trace_open(&boot->trace, "preflight");
        trace_hex(&boot->trace, "step", i);
        trace_text(&boot->trace, "outcome", ok ? "ok" : "fault");
        if (!ok) {
            trace_fault(boot, &fault);
        }
        trace_close(&boot->trace);
        if (!ok) {
            struct message line;
            describe(&line, i, &boot->plan.steps[i], &fault);
            tell(context, line.text);
            /* The first one is the reason if the boot is refused for it. */
            if (faults++ == 0) {
                boot->why = line;
            }
        }
    }
    *faults_ret = faults;
}
