/* Faults on the finished tables that touch more than one entry. */
#include "handoff.h"
#include "inject/fault_actions.h"
#include "space/address_space.h"

#define LOW_HALF_ENTRIES 256u
#define GARBAGE UINT64_C(0x5a5a5a5a5a5a5a5b)
#define GARBAGE_ENTRIES 8u
/* Where nothing else is: one page above the boot info's window, one below the stacks. */
#define ALIAS_VIRT (HANDOFF_INFO_VIRT + (UINT64_C(1) << 38))

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

void on_tables_nx_every_top_entry(const struct fault_scene *scene) {
    forbid_execution(scene->space, 0, PAGE_ENTRIES - 1);
}

void on_tables_nx_low_half(const struct fault_scene *scene) {
    forbid_execution(scene->space, 0, LOW_HALF_ENTRIES - 1);
}

/* The PD entry above the kernel holds the address at which the kernel will see the table. */
void on_tables_virtual_address_in_entry(const struct fault_scene *scene) {
    uint64_t virt = scene->places[PLACE_TEXT];
    uint64_t entry = address_space_get(scene->space, virt, 2);
    uint64_t table = entry & ENTRY_FRAME_MASK;
    uint64_t flags = entry & ~ENTRY_FRAME_MASK;
    address_space_set(scene->space, virt, 2,
                      (scene->tables_virt + (table - scene->space->pool_phys)) | flags);
}

/* What a page that nobody cleared may hold, in entries behind the kernel's. */
void on_tables_garbage_in_kernel_pd(const struct fault_scene *scene) {
    uint64_t virt = scene->places[PLACE_TEXT] + 16 * level_bytes(2);
    for (unsigned i = 0; i < GARBAGE_ENTRIES; i++) {
        address_space_set(scene->space, virt + i * level_bytes(2), 2, GARBAGE);
    }
}

/* The kernel's PDPT entry leads to its page table, which is then walked as a page directory. */
void on_tables_text_table_shared(const struct fault_scene *scene) {
    uint64_t virt = scene->places[PLACE_TEXT];
    uint64_t table = address_space_get(scene->space, virt, 2) & ENTRY_FRAME_MASK;
    uint64_t entry = address_space_get(scene->space, virt, 3);
    address_space_set(scene->space, virt, 3, (entry & ~ENTRY_FRAME_MASK) | table);
}

static void user_at_every_level(struct address_space *space, uint64_t virt) {
    for (unsigned level = space->table.levels; level > 0; level--) {
        uint64_t entry = address_space_get(space, virt, level);
        if (entry != 0) {
            address_space_set(space, virt, level, entry | ENTRY_USER);
        }
    }
}

void on_tables_text_user_at_every_level(const struct fault_scene *scene) {
    user_at_every_level(scene->space, scene->places[PLACE_TEXT]);
}

void on_tables_info_user_at_every_level(const struct fault_scene *scene) {
    user_at_every_level(scene->space, scene->places[PLACE_INFO]);
}

/* One more page for the frame behind `virt`. No room for the table is no fault worth a word. */
static void map_again(const struct fault_scene *scene, const char *name, const char *role,
                      uint64_t at, uint64_t virt, unsigned rights) {
    struct message why;
    const struct mapping mapping = {
        .name = name,
        .role = role,
        .virt = at,
        .bytes = PAGE_BYTES,
        .phys = address_space_get(scene->space, virt, 1) & ENTRY_FRAME_MASK,
        .rights = rights,
    };
    (void)!address_space_map(scene->space, &mapping, &why);
}

void on_tables_text_frame_writable_elsewhere(const struct fault_scene *scene) {
    map_again(scene, "patch window", "data", ALIAS_VIRT, scene->places[PLACE_TEXT],
              RIGHT_READ | RIGHT_WRITE);
}

void on_tables_guard_page_mapped(const struct fault_scene *scene) {
    map_again(scene, "stack 0 and one page", "stack", HANDOFF_STACKS_VIRT,
              scene->places[PLACE_STACK], RIGHT_READ | RIGHT_WRITE);
}

/* A stray write into a page table: the first free entry behind the boot info's leaf. */
void on_tables_unasked_page(const struct fault_scene *scene) {
    uint64_t info = scene->places[PLACE_INFO];
    address_space_set(scene->space, info + PAGE_BYTES, 1,
                      (address_space_get(scene->space, info, 1) | ENTRY_WRITABLE) &
                          ~ENTRY_NO_EXECUTE);
}

void on_tables_recursive_slot_one_lower(const struct fault_scene *scene) {
    unsigned top = scene->space->table.levels;
    uint64_t slot = scene->places[PLACE_RECURSIVE];
    uint64_t entry = address_space_get(scene->space, slot, top);
    address_space_set(scene->space, slot, top, 0);
    address_space_set(scene->space, slot - level_bytes(top), top, entry);
}

void on_tables_recursive_slot_to_kernel(const struct fault_scene *scene) {
    unsigned top = scene->space->table.levels;
    uint64_t slot = scene->places[PLACE_RECURSIVE];
    uint64_t kernel = address_space_get(scene->space, scene->places[PLACE_TEXT], top);
    uint64_t entry = address_space_get(scene->space, slot, top);
    address_space_set(scene->space, slot, top,
                      (entry & ~ENTRY_FRAME_MASK) | (kernel & ENTRY_FRAME_MASK));
}
