#include "evidence/access_plan.h"

#include "text.h"

#define VECTOR_BREAKPOINT 3

/* The step that was added, for what only some steps have; beyond the last one it is lost. */
static struct plan_step *add(struct access_plan *plan, const char *name, enum access_kind kind,
                             uint64_t virt, uint64_t width, uint64_t rip) {
    static struct plan_step dropped;
    bool fits = plan->count < PLAN_MAX_STEPS;
    struct plan_step *step = fits ? &plan->steps[plan->count++] : &dropped;
    size_t length = text_length(name);
    length = length < PLAN_NAME_BYTES ? length : PLAN_NAME_BYTES - 1;
    __builtin_memcpy(step->name, name, length);
    step->name[length] = '\0';
    step->access = (struct access){.virt = virt, .width = width, .kind = kind};
    step->rip = rip;
    step->vector = -1;
    return step;
}

/* False if the access does not happen on this machine. */
static bool resolve(const struct plan_addresses *addresses, const struct handoff_access *access,
                    uint64_t *virt_ret) {
    uint64_t offset = (uint64_t)access->offset;
    switch (access->base) {
    case HANDOFF_BASE_ABSOLUTE:
        *virt_ret = offset;
        return true;
    case HANDOFF_BASE_INFO:
        *virt_ret = addresses->info + offset;
        return true;
    case HANDOFF_BASE_STACK:
        *virt_ret = addresses->stack_top - 8 + offset;
        return true;
    case HANDOFF_BASE_INITRD:
        *virt_ret = addresses->initrd + offset;
        return true;
    case HANDOFF_BASE_MEMORY_MAP:
        *virt_ret = addresses->memory_map + offset;
        return true;
    case HANDOFF_BASE_FRAMEBUFFER:
        *virt_ret = addresses->framebuffer + offset;
        return addresses->framebuffer_bytes != 0;
    case HANDOFF_BASE_FRAMEBUFFER_END:
        *virt_ret = addresses->framebuffer + addresses->framebuffer_bytes + offset;
        return addresses->framebuffer_bytes != 0;
    default:
        return false;
    }
}

void access_plan_make(struct access_plan *plan_ret, const struct plan_addresses *addresses,
                      const struct elf_image *kernel) {
    plan_ret->count = 0;
    if (addresses->pending_vector >= 0) {
        add(plan_ret, "pending interrupt", ACCESS_FETCH, addresses->after_cr3, 1,
            addresses->after_cr3)
            ->vector = addresses->pending_vector;
    }
    add(plan_ret, "instruction after mov cr3", ACCESS_FETCH, addresses->after_cr3,
        addresses->code_end - addresses->after_cr3, addresses->after_cr3);
    add(plan_ret, "first push on the new stack", ACCESS_WRITE, addresses->stack_top - 8, 8,
        addresses->stack_write);
    if (addresses->breakpoint != 0) {
        add(plan_ret, "int3", ACCESS_FETCH, addresses->breakpoint, 1, addresses->breakpoint)
            ->vector = VECTOR_BREAKPOINT;
    }
    add(plan_ret, "kernel entry", ACCESS_FETCH, addresses->entry, 1, addresses->entry);

    size_t cursor = 0;
    struct handoff_access access;
    while (elf_next_access(kernel, &cursor, &access)) {
        uint64_t virt;
        bool aligned = access.kind == HANDOFF_WRITE_ALIGNED;
        bool usable = access.kind <= HANDOFF_WRITE_ALIGNED && access.width > 0 &&
                      access.width <= HANDOFF_MAX_ACCESS_BYTES &&
                      (!aligned || (access.width & (access.width - 1)) == 0);
        if (usable && resolve(addresses, &access, &virt)) {
            enum access_kind kind = aligned ? ACCESS_WRITE : (enum access_kind)access.kind;
            add(plan_ret, access.name, kind, virt, access.width,
                kind == ACCESS_FETCH ? virt : access.rip)
                ->access.align = aligned ? access.width : 0;
        }
    }
}

void access_plan_trace(const struct access_plan *plan, struct trace *trace) {
    static const char kinds[][6] = {"fetch", "read", "write"};
    for (size_t i = 0; i < plan->count; i++) {
        const struct plan_step *step = &plan->steps[i];
        trace_open(trace, "plan");
        trace_hex(trace, "step", i);
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
}
