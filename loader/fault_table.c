#include "faults.h"

#include "address_space.h"
#include "handoff.h"
#include "text.h"

/* An address of the kernel's part: its image lies in the top 2 GiB. */
#define KERNEL_VIRT UINT64_C(0xffffffff80000000)
#define LOW_HALF_ENTRIES 256u

static bool has_role(const struct mapping *mapping, const char *role) {
    return text_equals(mapping->role, text_length(mapping->role), role);
}

/* NX on the present top entries first .. last, inclusive. */
static void forbid_execution(struct address_space *space, unsigned first, unsigned last) {
    unsigned top = space->table.levels;
    for (unsigned index = first; index <= last; index++) {
        uint64_t virt = (uint64_t)index << level_shift(top);
        uint64_t entry = address_space_get(space, virt, top);
        if ((entry & ENTRY_PRESENT) != 0) {
            address_space_set(space, virt, top, entry | ENTRY_NO_EXECUTE);
        }
    }
}

static void nx_every_top_entry(struct address_space *space) {
    forbid_execution(space, 0, PAGE_ENTRIES - 1);
}

static void nx_low_half(struct address_space *space) {
    forbid_execution(space, 0, LOW_HALF_ENTRIES - 1);
}

static void nx_kernel_entry(struct address_space *space) {
    unsigned index = level_index(KERNEL_VIRT, space->table.levels);
    forbid_execution(space, index, index);
}

static bool drop_trampoline(struct mapping *mapping) {
    return !has_role(mapping, "trampoline");
}

static bool drop_text(struct mapping *mapping) {
    return !has_role(mapping, "text");
}

static bool text_without_execute(struct mapping *mapping) {
    if (has_role(mapping, "text")) {
        mapping->rights &= ~RIGHT_EXECUTE;
    }
    return true;
}

static bool drop_stacks(struct mapping *mapping) {
    return !has_role(mapping, "stack");
}

static bool stacks_without_write(struct mapping *mapping) {
    if (has_role(mapping, "stack")) {
        mapping->rights &= ~RIGHT_WRITE;
    }
    return true;
}

static void stacks_pml4_entry_readonly(struct address_space *space) {
    uint64_t entry = address_space_get(space, HANDOFF_STACKS_VIRT, 4);
    address_space_set(space, HANDOFF_STACKS_VIRT, 4, entry & ~ENTRY_WRITABLE);
}

static bool drop_idt(struct mapping *mapping) {
    return !has_role(mapping, "idt");
}

const struct fault fault_table[] = {
    {.id = "nx-upper-level",
     .variant = "",
     .description = "NX in every entry of the top table",
     .rule = "nx-upper-level",
     .outcome = "#PF 0011 at the first instruction after mov cr3; the handler cannot run either",
     .tables = nx_every_top_entry},
    {.id = "nx-upper-level",
     .variant = "low",
     .description = "NX in the top table's entries of the low half: loader and handlers",
     .rule = "nx-upper-level",
     .outcome = "#PF 0011 at the first instruction after mov cr3; the handler cannot run either",
     .tables = nx_low_half},
    {.id = "nx-upper-level",
     .variant = "kernel",
     .description = "NX in the top table's entry that covers the kernel",
     .rule = "nx-upper-level",
     .outcome = "#PF 0011 at the kernel's entry",
     .tables = nx_kernel_entry},
    {.id = "identity-missing-trampoline",
     .variant = "",
     .description = "the page that executes mov cr3 is not mapped in the new tables",
     .rule = "identity-missing-trampoline",
     .outcome = "#PF 0010 at the first instruction after mov cr3",
     .mapping = drop_trampoline},
    {.id = "code-unmapped",
     .variant = "",
     .description = "the kernel's executable segment is not mapped",
     .rule = "code-unmapped",
     .outcome = "#PF 0010 at the kernel's entry",
     .mapping = drop_text},
    {.id = "nx-leaf-code",
     .variant = "",
     .description = "the kernel's executable segment is mapped with NX",
     .rule = "nx-leaf-code",
     .outcome = "#PF 0011 at the kernel's entry",
     .mapping = text_without_execute},
    {.id = "stack-unmapped",
     .variant = "",
     .description = "no stack is mapped",
     .rule = "stack-unmapped",
     .outcome = "#PF 0002 at the first push",
     .mapping = drop_stacks},
    {.id = "stack-readonly",
     .variant = "",
     .description = "the stacks are mapped read-only",
     .rule = "stack-readonly",
     .outcome = "#PF 0003 at the first push",
     .mapping = stacks_without_write},
    {.id = "upper-level-readonly",
     .variant = "",
     .description = "the PML4 entry above the stacks is read-only, their PTEs are writable",
     .rule = "upper-level-readonly",
     .outcome = "#PF 0003 at the first push",
     .tables = stacks_pml4_entry_readonly},
    {.id = "idt-unmapped",
     .variant = "",
     .description = "the IDT is not mapped; strikes together with another fault",
     .rule = "idt-unmapped",
     .outcome = "nothing until the first exception, then a triple fault",
     .mapping = drop_idt},
};

const size_t fault_table_count = sizeof(fault_table) / sizeof(fault_table[0]);
