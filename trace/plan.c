#include "trace/plan.h"

void plan_name(char *name_ret, const char *name) {
    size_t length = 0;
    for (; length < PLAN_NAME_BYTES - 1 && name[length] != '\0'; length++) {
        name_ret[length] = name[length];
    }
    name_ret[length] = '\0';
}

struct plan_step *plan_add(struct access_plan *plan, const char *name, const struct access *access,
                           uint64_t rip) {
    if (plan->count == PLAN_MAX_STEPS) {
        return NULL;
    }
    struct plan_step *step = &plan->steps[plan->count++];
    plan_name(step->name, name);
    step->access = *access;
    step->rip = rip;
    step->is_push = false;
    step->vector = -1;
    return step;
}

static void trace_step(struct trace *trace, size_t number, const struct plan_step *step) {
    static const char kinds[][6] = {"fetch", "read", "write"};
    trace_open(trace, "plan");
    trace_hex(trace, "step", number);
    trace_text(trace, "name", step->name);
    trace_text(trace, "kind", step->vector >= 0 ? "interrupt" : kinds[step->access.kind]);
    trace_hex(trace, "virt", step->access.virt);
    trace_hex(trace, "width", step->access.width);
    trace_hex(trace, "rip", step->rip);
    if (step->access.align > 1) {
        trace_hex(trace, "align", step->access.align);
    }
    if (step->vector >= 0) {
        trace_hex(trace, "vector", (uint64_t)step->vector);
    }
    trace_close(trace);
}

void plan_trace(const struct access_plan *plan, struct trace *trace) {
    for (size_t i = 0; i < plan->count; i++) {
        trace_step(trace, i, &plan->steps[i]);
    }
}

void plan_trace_preflight(struct trace *trace, size_t number, const struct access_fault *fault) {
    trace_open(trace, "preflight");
    trace_hex(trace, "step", number);
    trace_text(trace, "outcome", fault == NULL ? "ok" : "fault");
    if (fault != NULL) {
        trace_hex(trace, "vector", fault->vector);
        trace_hex(trace, "error", fault->error_code);
        trace_hex(trace, "cr2", fault->cr2);
        if (fault->level != 0) {
            trace_hex(trace, "level", fault->level);
            trace_hex(trace, "index", fault->index);
            trace_hex(trace, "entry", fault->entry_phys);
            trace_hex(trace, "value", fault->entry);
        }
    }
    trace_close(trace);
}

void plan_describe_entry(struct message *line, const struct access_fault *fault) {
    if (fault->level != 0) {
        message_text(line, ", level ");
        message_decimal(line, fault->level);
        message_text(line, " entry ");
        message_decimal(line, fault->index);
        message_text(line, " = ");
        message_hex(line, fault->entry);
    }
}

void plan_describe_fault(struct message *line_ret, const struct plan_step *step, size_t number,
                         const struct access_fault *fault) {
    message_start(line_ret, "preflight: step ");
    message_decimal(line_ret, number);
    message_text(line_ret, " (");
    message_name(line_ret, step->name, PLAN_NAME_BYTES); /* it may come from the kernel's file */
    message_text(line_ret, ") will fault: vector ");
    if (step->is_push && fault->vector == VECTOR_GENERAL_PROTECTION) {
        message_text(line_ret, "12 (QEMU's TCG: 13)"); /* Intel SDM volume 1, 3.3.7.1 */
    } else {
        message_decimal(line_ret, fault->vector);
    }
    message_text(line_ret, " error ");
    message_hex(line_ret, fault->error_code);
    message_text(line_ret, " at ");
    message_hex(line_ret, fault->vector == VECTOR_PAGE_FAULT ? fault->cr2 : step->access.virt);
    plan_describe_entry(line_ret, fault);
}
