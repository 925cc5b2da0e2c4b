/* The tables as a whole: unchanged since the switch, W^X, and every range where the boot info says
 * it is. */
#include "checks.h"
#include "page_probe.h"
#include "report.h"
#include "segment.h"
#include "tables.h"
#include "text.h"
#include "trace/paging.h"

static const char *rights_name(bool writable, bool executable) {
    static const char *const names[2][2] = {{"r--", "r-x"}, {"rw-", "rwx"}};
    return names[writable][executable];
}

static void check_crc(const struct handoff *handoff) {
    struct text detail;
    uint32_t crc = tables_crc(handoff);
    text_set(&detail, "crc %x, the loader's %x", crc, handoff->tables_crc);
    report(crc == handoff->tables_crc, "tables.crc", detail.bytes);
}

static bool is_not_both(void *context, const struct tables_node *node) {
    struct text *detail = context;
    bool high = (int64_t)node->virt < 0;
    if (node->table == NULL && high && node->writable && node->executable) {
        text_set(detail, "%lx is writable and executable: level %u entry %lx", node->virt,
                 node->level, node->entry);
        return false;
    }
    return true;
}

static void check_write_xor_execute(const struct handoff *handoff) {
    struct text detail;
    text_init(&detail);
    enum tables_status status = tables_walk(handoff, is_not_both, &detail);
    text_add(&detail, "%s", tables_status_text(status));
    report(status == TABLES_WALKED, "tables.write-xor-execute", detail.bytes);
}

/* A range that the boot info hands over, and what it must be to the kernel. */
struct handed {
    const char *name;
    struct handoff_range range;
    bool writable;
    bool executable;
};

static bool is_page_as_handed(const struct handoff *handoff, const struct handed *handed,
                              uint64_t offset, struct text *detail) {
    uint64_t virt = handed->range.virt + offset, phys = handed->range.phys + offset;
    struct tables_translation found = {0};
    bool mapped = tables_translate(handoff, virt, &found);
    if (mapped && found.phys == phys && found.writable == handed->writable &&
        found.executable == handed->executable && !found.user) {
        return true;
    }
    text_set(detail, "%s: %lx should lead to %lx as %s, it leads to %lx as %s", handed->name, virt,
             phys, rights_name(handed->writable, handed->executable), found.phys,
             mapped ? rights_name(found.writable, found.executable) : "absent");
    if (found.user) {
        text_add(detail, " for ring 3 too");
    }
    return false;
}

static bool is_as_handed(const struct handoff *handoff, const struct handed *handed,
                         struct text *detail) {
    for (uint64_t offset = 0; offset < handed->range.bytes; offset += PAGE_BYTES) {
        if (!is_page_as_handed(handoff, handed, offset, detail)) {
            return false;
        }
    }
    return true;
}

static bool are_stacks_as_handed(const struct handoff *handoff, struct text *detail) {
    const struct handoff_stacks *stacks = &handoff->stacks;
    for (uint32_t i = 0; i < handoff->cpu_count; i++) {
        struct handed stack = {
            .name = "stack",
            .range = {.virt = stacks->virt + i * stacks->stride + stacks->guard_bytes,
                      .phys = stacks->phys + i * stacks->usable_bytes,
                      .bytes = stacks->usable_bytes},
            .writable = true,
        };
        if (!is_as_handed(handoff, &stack, detail)) {
            return false;
        }
    }
    return true;
}

static bool are_segments_as_handed(const struct handoff *handoff, struct text *detail) {
    for (uint32_t i = 0; i < handoff->segment_count; i++) {
        const struct handoff_segment *segment = &handoff->segments[i];
        struct handed handed = {
            .name = "segment",
            .range = {segment->virt, segment->phys, segment->memsz},
            .writable = (segment->flags & SEGMENT_WRITABLE) != 0,
            .executable = (segment->flags & SEGMENT_EXECUTABLE) != 0,
        };
        if (!is_as_handed(handoff, &handed, detail)) {
            return false;
        }
    }
    return true;
}

static void check_handed(const struct handoff *handoff) {
    const struct handed ranges[] = {
        {"boot info", handoff->self, false, false},
        {"tables", handoff->tables, false, false},
        {"initrd", handoff->initrd, false, false},
        {"memory map", handoff->memory_map, false, false},
        {"frame buffer", handoff->framebuffer.range, true, false},
    };
    struct text detail;
    text_init(&detail);
    bool as_handed =
        are_stacks_as_handed(handoff, &detail) && are_segments_as_handed(handoff, &detail);
    for (unsigned i = 0; as_handed && i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        as_handed = is_as_handed(handoff, &ranges[i], &detail);
    }
    report(as_handed, "tables.as-handed", detail.bytes);
}

void check_tables(const struct boot *boot) {
    const struct handoff_range *pool = &boot->handoff->tables;
    struct text detail;
    struct virt_range range = virt_range(pool->virt, pool->bytes);
    report(pages_fault(range, PROBE_WRITE, ERROR_WRITE_DENIED, &detail), "tables.not-writable",
           detail.bytes);
    check_crc(boot->handoff);
    check_write_xor_execute(boot->handoff);
    check_handed(boot->handoff);
}
