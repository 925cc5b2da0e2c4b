#include "inject/spoil.h"

#include "boot.h"
#include "handoff/ap_start.h"

/* In the full identity map, below its 4 GiB, and far from the loader. */
#define IDENTITY_VIRT (UINT64_C(3) << 30)

static void flip_bit(struct address_space *space, const struct config_flip *flip) {
    if (flip->level != 0 && flip->level <= space->table.levels) {
        unsigned level = (unsigned)flip->level;
        address_space_set(space, flip->virt, level,
                          address_space_get(space, flip->virt, level) ^ UINT64_C(1) << flip->bit);
    }
}

void spoil_kernel(struct boot *boot) {
    faults_spoil_kernel(&boot->faults, &boot->kernel, (uint8_t *)(uintptr_t)boot->kernel_phys);
}

static bool adjust(const void *faults, struct mapping *mapping) {
    return faults_adjust_mapping(faults, mapping);
}

void spoil_mappings(struct boot *boot) {
    boot->space.adjust = adjust;
    boot->space.adjust_context = &boot->faults;
}

static const struct elf64_segment *last_segment(const struct elf_image *kernel, uint32_t flag) {
    for (size_t i = kernel->segment_count; i > 0; i--) {
        if ((kernel->segments[i - 1].flags & flag) != 0) {
            return &kernel->segments[i - 1];
        }
    }
    return NULL;
}

/* No default: the compiler names a place that is not here. */
static uint64_t place_virt(const struct boot *boot, enum fault_place place) {
    const struct handoff *info = boot->info;
    const struct elf64_segment *text = last_segment(&boot->kernel, SEGMENT_EXECUTE);
    const struct elf64_segment *data = last_segment(&boot->kernel, SEGMENT_WRITE);
    switch (place) {
    case PLACE_TEXT:
        return boot->kernel.entry;
    case PLACE_LAST_TEXT:
        return text != NULL ? text->vaddr + text->memsz - 1 : PLACE_ABSENT_VIRT;
    case PLACE_DATA:
        return data != NULL ? data->vaddr : PLACE_ABSENT_VIRT;
    case PLACE_STACK:
        return info->stacks.virt + info->stacks.stride - 1;
    case PLACE_TRAMPOLINE:
        return (uint64_t)own_switch;
    case PLACE_INFO:
        return info->self.virt;
    case PLACE_FRAMEBUFFER:
        return info->framebuffer.range.bytes != 0 ? info->framebuffer.range.virt
                                                  : PLACE_ABSENT_VIRT;
    case PLACE_RECURSIVE:
        return address_space_recursive_virt(&boot->space);
    case PLACE_FIRMWARE_IDT:
        return boot->cpu.idt.base;
    case PLACE_IDENTITY:
        return boot->config.identity_full ? IDENTITY_VIRT : PLACE_ABSENT_VIRT;
    case PLACE_NONE:
    case PLACES:
        break;
    }
    return PLACE_ABSENT_VIRT;
}

void spoil_scene(struct boot *boot, struct fault_scene *scene_ret) {
    scene_ret->space = &boot->space;
    scene_ret->tables_virt = boot->info->tables.virt;
    for (unsigned place = PLACE_NONE; place < PLACES; place++) {
        scene_ret->places[place] = place_virt(boot, (enum fault_place)place);
    }
}

void spoil_tables(struct boot *boot) {
    struct fault_scene scene;
    spoil_scene(boot, &scene);
    faults_spoil_tables(&boot->faults, &scene);
    flip_bit(&boot->space, &boot->config.flip);
}

void spoil_handoff(struct boot *boot) {
    faults_spoil_handoff(&boot->faults, &boot->request);
    faults_spoil_state(&boot->faults, &boot->planned);
}

void spoil_start(struct boot *boot) {
    struct handoff_start *start = &boot->info->start;
    if (start->code.bytes == 0) {
        return;
    }
    const struct fault_start scene = {
        .start = start,
        .data = ap_start_data(boot),
        .code = (uint8_t *)(uintptr_t)start->code.phys,
        .code_bytes = ap_start_code_bytes(),
        .without_lidt = ap_start_behind_lidt(),
        .stacks = &boot->info->stacks,
    };
    faults_spoil_start(&boot->faults, &scene);
}

void spoil_firmware_tables(struct boot *boot) {
    unsigned level = boot_levels(boot);
    unsigned index = level_index(boot->image.base, level);
    volatile uint64_t *entry =
        (volatile uint64_t *)(uintptr_t)(boot->cpu.cr3 & ENTRY_FRAME_MASK) + index;
    trace_open(&boot->trace, "set");
    trace_hex(&boot->trace, "entry", (uint64_t)entry);
    trace_hex(&boot->trace, "level", level);
    trace_hex(&boot->trace, "index", index);
    trace_hex(&boot->trace, "old", *entry);
    trace_hex(&boot->trace, "new", *entry);
    trace_hex(&boot->trace, "caller", (uint64_t)spoil_firmware_tables);
    trace_close(&boot->trace);
    *entry = *entry;
}
