/* The final memory map, and that nothing the kernel was handed lies in memory that it may reclaim.
 */
#include "checks.h"
#include "memory_map.h"
#include "report.h"
#include "text.h"

#define FIXED_RANGES 7u
#define MAX_OWNED (FIXED_RANGES + HANDOFF_MAX_SEGMENTS)

/* Number of ranges that the boot info says are the kernel's own. */
static unsigned list_owned(const struct handoff *handoff,
                           struct memory_owned owned_ret[MAX_OWNED]) {
    const struct handoff_stacks *stacks = &handoff->stacks;
    unsigned count = 0;
    owned_ret[count++] =
        (struct memory_owned){"tables", handoff->tables.phys, handoff->tables.bytes};
    owned_ret[count++] =
        (struct memory_owned){"stacks", stacks->phys, handoff->cpu_count * stacks->usable_bytes};
    owned_ret[count++] =
        (struct memory_owned){"initrd", handoff->initrd.phys, handoff->initrd.bytes};
    owned_ret[count++] =
        (struct memory_owned){"boot info", handoff->self.phys, handoff->self.bytes};
    owned_ret[count++] =
        (struct memory_owned){"memory map", handoff->memory_map.phys, handoff->memory_map.bytes};
    owned_ret[count++] =
        (struct memory_owned){"AP code", handoff->start.code.phys, handoff->start.code.bytes};
    owned_ret[count++] =
        (struct memory_owned){"AP data", handoff->start.data.phys, handoff->start.data.bytes};
    for (uint32_t i = 0; i < handoff->segment_count; i++) {
        const struct handoff_segment *segment = &handoff->segments[i];
        owned_ret[count++] = (struct memory_owned){"segment", segment->phys, segment->memsz};
    }
    return count;
}

static void check_kept(const struct memory_map *map, const struct memory_owned *owned,
                       unsigned count) {
    struct text detail;
    text_init(&detail);
    unsigned kept = 0;
    while (kept < count && memory_map_keeps(map, &owned[kept], &detail)) {
        kept++;
    }
    report(kept == count, "memory-map.nothing-reclaimable", detail.bytes);
}

static void check_disjoint(const struct memory_owned *owned, unsigned count) {
    struct text detail;
    text_init(&detail);
    bool disjoint = true;
    for (unsigned i = 0; i < count; i++) {
        for (unsigned j = 0; j < i && disjoint; j++) {
            if (memory_owned_overlap(&owned[i], &owned[j])) {
                text_set(&detail, "%s at %lx and %s at %lx", owned[j].name, owned[j].phys,
                         owned[i].name, owned[i].phys);
                disjoint = false;
            }
        }
    }
    report(disjoint, "memory-map.nothing-shared", detail.bytes);
}

void check_memory_map(const struct boot *boot) {
    const struct handoff *handoff = boot->handoff;
    const struct memory_map map = {(const void *)(uintptr_t)handoff->memory_map.virt,
                                   handoff->memory_map_used, handoff->descriptor_size};
    struct text detail;
    text_set(&detail, "%lx bytes used of %lx", map.used, handoff->memory_map.bytes);
    bool holds = map.used <= handoff->memory_map.bytes;
    bool sane = holds && memory_map_is_sane(&map, &detail);
    report(sane, "memory-map.sane", detail.bytes);
    if (!sane) {
        return;
    }
    struct memory_owned owned[MAX_OWNED];
    unsigned count = list_owned(handoff, owned);
    check_kept(&map, owned, count);
    check_disjoint(owned, count);
}
