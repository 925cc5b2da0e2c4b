/* The boot info itself: whether its own fields, and CR3 and CR4, agree with it. */
#include "checks.h"
#include "report.h"
#include "text.h"
#include "trace/control_registers.h"
#include "trace/cpu.h"
#include "trace/paging.h"

#define MAX_CPUS 4096u /* x2APIC systems of today have fewer; more is garbage */

static bool check_self(const struct handoff *handoff) {
    struct text detail;
    text_set(&detail, "magic %lx version %u", handoff->magic, handoff->version);
    report(handoff->magic == HANDOFF_MAGIC && handoff->version == HANDOFF_VERSION,
           "handoff.version", detail.bytes);

    bool holds = handoff->size >= sizeof(*handoff) && handoff->self.bytes >= handoff->size &&
                 handoff->self.virt == (uint64_t)(uintptr_t)handoff;
    text_set(&detail, "%u bytes at %lx, of %lu at %lx", handoff->size, (uint64_t)(uintptr_t)handoff,
             handoff->self.bytes, handoff->self.virt);
    report(holds, "handoff.size", detail.bytes);
    return holds;
}

static bool check_root(const struct handoff *handoff) {
    struct cpu_state cpu;
    cpu_read(&cpu);
    unsigned levels = (cpu.cr4 & CR4_LA57) != 0 ? 5 : 4;
    uint64_t root = cpu.cr3 & ENTRY_FRAME_MASK;
    bool agrees = handoff->levels == levels && handoff->root_phys == root;
    struct text detail;
    text_set(&detail, "%u levels from %lx, and the CPU %u from %lx", handoff->levels,
             handoff->root_phys, levels, root);
    report(agrees, "handoff.root", detail.bytes);
    return agrees;
}

static bool is_whole_pages(uint64_t value) {
    return value != 0 && value % PAGE_BYTES == 0;
}

static bool check_counts(const struct handoff *handoff) {
    const struct handoff_stacks *stacks = &handoff->stacks;
    struct text detail;
    bool plausible = handoff->cpu_count > 0 && handoff->cpu_count <= MAX_CPUS &&
                     handoff->segment_count > 0 && handoff->segment_count <= HANDOFF_MAX_SEGMENTS &&
                     handoff->recursive_slot < PAGE_ENTRIES &&
                     is_whole_pages(handoff->tables.bytes) && is_whole_pages(stacks->guard_bytes) &&
                     is_whole_pages(stacks->usable_bytes) && stacks->virt % PAGE_BYTES == 0 &&
                     stacks->stride == stacks->guard_bytes + stacks->usable_bytes;
    text_set(&detail, "%u CPUs, %u segments, stacks %lx + %lx every %lx", handoff->cpu_count,
             handoff->segment_count, stacks->guard_bytes, stacks->usable_bytes, stacks->stride);
    report(plausible, "handoff.counts", detail.bytes);
    return plausible;
}

bool check_handoff(const struct boot *boot) {
    bool self = check_self(boot->handoff);
    bool root = self && check_root(boot->handoff);
    return root && check_counts(boot->handoff);
}
