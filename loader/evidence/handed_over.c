#include "evidence/handed_over.h"

#include "boot.h"

static void name_range(struct boot *boot, const char *name, const char *role, uint64_t virt,
                       uint64_t phys, uint64_t bytes) {
    if (bytes == 0) {
        return;
    }
    trace_open(&boot->trace, "region");
    trace_text(&boot->trace, "name", name);
    trace_text(&boot->trace, "role", role);
    trace_hex(&boot->trace, "virt", virt);
    trace_hex(&boot->trace, "last", virt + bytes - 1);
    trace_hex(&boot->trace, "phys", phys);
    trace_close(&boot->trace);
}

static void name_handed(struct boot *boot, const char *name, const char *role,
                        const struct handoff_range *range) {
    name_range(boot, name, role, range->virt, range->phys, range->bytes);
}

void handed_over_trace(struct boot *boot) {
    const struct handoff *info = boot->info;
    const struct handoff_stacks *stacks = &info->stacks;
    name_handed(boot, "boot info", "boot-info", &info->self);
    name_handed(boot, "memory map", "memory-map", &info->memory_map);
    name_handed(boot, "page tables", "tables", &info->tables);
    name_handed(boot, "initrd", "initrd", &info->initrd);
    name_handed(boot, "frame buffer", "framebuffer", &info->framebuffer.range);
    for (uint32_t i = 0; i < boot->cpu_count; i++) {
        struct message name;
        message_start(&name, "stack ");
        message_decimal(&name, i);
        name_range(boot, name.text, "stack",
                   stacks->virt + i * stacks->stride + stacks->guard_bytes,
                   stacks->phys + i * stacks->usable_bytes, stacks->usable_bytes);
    }
}
