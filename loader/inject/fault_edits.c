#include "inject/fault_edits.h"

#include "space/address_space.h"
#include "text.h"

bool fault_edits_apply_to_range(const struct range_edit *edit, struct mapping *mapping) {
    if (edit->role == NULL || !text_equals(mapping->role, text_length(mapping->role), edit->role)) {
        return true;
    }
    if (edit->only_with != 0 && (mapping->rights & edit->only_with) == 0) {
        return true;
    }
    if (edit->without != 0) {
        mapping->rights &= ~edit->without;
        return true;
    }
    switch (edit->change) {
    case RANGE_LEFT_OUT:
        return false;
    case RANGE_WITHOUT_LAST_PAGE:
        mapping->bytes -= PAGE_BYTES;
        return mapping->bytes > 0;
    case RANGE_ONE_FRAME_ON:
        mapping->phys += PAGE_BYTES;
        return true;
    case RANGE_CACHED:
        mapping->type = MEMORY_WRITE_BACK;
        return true;
    }
    return true;
}

void fault_edits_apply_to_entry(const struct entry_edit *edit, const struct fault_scene *scene) {
    struct address_space *space = scene->space;
    uint64_t virt = scene->places[edit->place];
    if (virt == PLACE_ABSENT_VIRT) {
        return;
    }
    unsigned top = space->table.levels;
    for (unsigned level = edit->level < top ? edit->level : top; level <= top; level++) {
        uint64_t entry = address_space_get(space, virt, level);
        if (entry != 0) {
            address_space_set(space, virt, level, (entry | edit->set) & ~edit->clear);
            return;
        }
    }
}
