/* Faults on the finished tables: one bit of one entry, or of many. */
#include "address_space.h"
#include "fault_actions.h"
#include "handoff.h"
#include "handoff_jump.h"

/* The kernel's image lies in the top 2 GiB, its entry in the first page. */
#define KERNEL_VIRT UINT64_C(0xffffffff80000000)
#define LOADER_VIRT ((uint64_t)handoff_first)
#define STACK_VIRT (HANDOFF_STACKS_VIRT + 2 * PAGE_BYTES)
#define LOW_HALF_ENTRIES 256u
/* Above MAXPHYADDR on every CPU but those with all 52 bits. */
#define HIGH_FRAME_BIT (UINT64_C(1) << 51)

static void set_bits(struct address_space *space, uint64_t virt, unsigned level, uint64_t bits) {
    address_space_set(space, virt, level, address_space_get(space, virt, level) | bits);
}

static void clear_bits(struct address_space *space, uint64_t virt, unsigned level, uint64_t bits) {
    address_space_set(space, virt, level, address_space_get(space, virt, level) & ~bits);
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

void nx_every_top_entry(struct address_space *space) {
    forbid_execution(space, 0, PAGE_ENTRIES - 1);
}

void nx_low_half(struct address_space *space) {
    forbid_execution(space, 0, LOW_HALF_ENTRIES - 1);
}

void nx_kernel_top_entry(struct address_space *space) {
    unsigned index = level_index(KERNEL_VIRT, space->table.levels);
    forbid_execution(space, index, index);
}

void nx_kernel_pdpt_entry(struct address_space *space) {
    set_bits(space, KERNEL_VIRT, 3, ENTRY_NO_EXECUTE);
}

void nx_kernel_pd_entry(struct address_space *space) {
    set_bits(space, KERNEL_VIRT, 2, ENTRY_NO_EXECUTE);
}

void nx_loader_pdpt_entry(struct address_space *space) {
    set_bits(space, LOADER_VIRT, 3, ENTRY_NO_EXECUTE);
}

void nx_loader_pd_entry(struct address_space *space) {
    set_bits(space, LOADER_VIRT, 2, ENTRY_NO_EXECUTE);
}

void nx_entry_page(struct address_space *space) {
    set_bits(space, KERNEL_VIRT, 1, ENTRY_NO_EXECUTE);
}

void readonly_stack_pml4_entry(struct address_space *space) {
    clear_bits(space, STACK_VIRT, 4, ENTRY_WRITABLE);
}

void readonly_stack_pdpt_entry(struct address_space *space) {
    clear_bits(space, STACK_VIRT, 3, ENTRY_WRITABLE);
}

void readonly_stack_pd_entry(struct address_space *space) {
    clear_bits(space, STACK_VIRT, 2, ENTRY_WRITABLE);
}

void not_present_kernel_pd_entry(struct address_space *space) {
    clear_bits(space, KERNEL_VIRT, 2, ENTRY_PRESENT);
}

void large_bit_in_kernel_pml4_entry(struct address_space *space) {
    set_bits(space, KERNEL_VIRT, 4, ENTRY_LARGE);
}

/* The entry's table becomes the frame of a 2 MiB page, and bits 20:13 of it are not zero. */
void large_bit_in_kernel_pd_entry(struct address_space *space) {
    set_bits(space, KERNEL_VIRT, 2, ENTRY_LARGE | UINT64_C(1) << 13);
}

void high_frame_bit_in_kernel_page(struct address_space *space) {
    set_bits(space, KERNEL_VIRT, 1, HIGH_FRAME_BIT);
}

void high_frame_bit_in_stack_pdpt_entry(struct address_space *space) {
    set_bits(space, STACK_VIRT, 3, HIGH_FRAME_BIT);
}
