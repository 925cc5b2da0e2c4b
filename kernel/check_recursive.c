/* The recursive slot: real recursion, and a window that shows exactly the tables that the CPU uses.
 */
#include "checks.h"
#include "probe.h"
#include "report.h"
#include "tables.h"
#include "text.h"
#include "trace/paging.h"

#define ACCESSED_DIRTY (ENTRY_ACCESSED | ENTRY_DIRTY) /* the CPU sets them while we read */

static void check_slot(const struct handoff *handoff, const uint64_t *root) {
    unsigned count = 0;
    for (unsigned i = 0; i < PAGE_ENTRIES; i++) {
        bool present = (root[i] & ENTRY_PRESENT) != 0;
        count += present && (root[i] & ENTRY_FRAME_MASK) == handoff->root_phys ? 1 : 0;
    }
    uint64_t entry = root[handoff->recursive_slot];
    struct text detail;
    text_set(&detail, "slot %u holds %lx, root %lx is in %u slots", handoff->recursive_slot, entry,
             handoff->root_phys, count);
    report(count == 1 && (entry & ENTRY_FRAME_MASK) == handoff->root_phys, "recursive.slot",
           detail.bytes);
    report((entry & ENTRY_NO_EXECUTE) != 0 && (entry & ENTRY_WRITABLE) != 0 &&
               (entry & ENTRY_USER) == 0,
           "recursive.rights", detail.bytes);
}

struct comparison {
    const struct handoff *handoff;
    unsigned tables;
    struct text detail;
};

static bool same_entries(const uint64_t *left, const volatile uint64_t *right) {
    for (unsigned i = 0; i < PAGE_ENTRIES; i++) {
        if (((left[i] ^ right[i]) & ~ACCESSED_DIRTY) != 0) {
            return false;
        }
    }
    return true;
}

static bool compare_table(void *context, const struct tables_node *node) {
    struct comparison *comparison = context;
    if (node->table == NULL) {
        return true;
    }
    uint64_t window = tables_window(comparison->handoff, node->virt, node->level);
    if (!probe_succeeds((struct probe){PROBE_READ, window}, &comparison->detail)) {
        return false;
    }
    if (!same_entries(node->table, (const volatile uint64_t *)window)) {
        text_set(&comparison->detail, "the window at %lx is not the level %u table at %lx", window,
                 node->level, node->entry);
        return false;
    }
    comparison->tables++;
    return true;
}

void check_recursive(const struct boot *boot) {
    const struct handoff *handoff = boot->handoff;
    const uint64_t *root = tables_page(handoff, handoff->root_phys);
    if (root == NULL) {
        report(false, "recursive.slot", "the root is not in the pool");
        return;
    }
    check_slot(handoff, root);

    struct text detail;
    uint64_t base = tables_window(handoff, 0, 1);
    text_set(&detail, "%lx, computed %lx", handoff->recursive_virt, base);
    report(handoff->recursive_virt == base, "recursive.base", detail.bytes);

    struct comparison comparison = {.handoff = handoff};
    enum tables_status status = tables_walk(handoff, compare_table, &comparison);
    if (status == TABLES_WALKED) {
        text_set(&comparison.detail, "%u tables", comparison.tables);
    } else {
        text_add(&comparison.detail, "%s", tables_status_text(status));
    }
    report(status == TABLES_WALKED, "recursive.window", comparison.detail.bytes);
}
