/* Faults on a range that is about to be mapped, beyond what a range edit can say. */
#include "inject/fault_actions.h"
#include "space/address_space.h"
#include "text.h"

/* Where the kernel's text was put: it is mapped before the stacks. */
static uint64_t text_phys;

static bool has_role(const struct mapping *mapping, const char *role) {
    return text_equals(mapping->role, text_length(mapping->role), role);
}

bool on_mapping_stacks_over_kernel_text(struct mapping *mapping) {
    if (has_role(mapping, "text")) {
        text_phys = mapping->phys;
    }
    if (has_role(mapping, "stack")) {
        mapping->phys = text_phys;
    }
    return true;
}

/* Two segments in one page: the later one's rights win. The text gives its last page up for that.
 */
bool on_mapping_rodata_over_last_text_page(struct mapping *mapping) {
    if (has_role(mapping, "text")) {
        mapping->bytes -= PAGE_BYTES;
    }
    if (has_role(mapping, "rodata")) {
        mapping->virt -= PAGE_BYTES;
        mapping->phys -= PAGE_BYTES;
        mapping->bytes += PAGE_BYTES;
    }
    return mapping->bytes > 0;
}
