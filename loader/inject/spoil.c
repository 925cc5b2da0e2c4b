#include "inject/spoil.h"

#include "boot.h"
#include "handoff/handoff_jump.h"

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

void spoil_tables(struct boot *boot) {
    const struct handoff *info = boot->info;
    struct fault_scene scene = {.space = &boot->space, .tables_virt = info->tables.virt};
    for (size_t i = 0; i < boot->kernel.segment_count; i++) {
        const struct elf64_segment *segment = &boot->kernel.segments[i];
        if ((segment->flags & SEGMENT_EXECUTE) != 0) {
            scene.places[PLACE_LAST_TEXT] = segment->vaddr + segment->memsz - 1;
        }
        if ((segment->flags & SEGMENT_WRITE) != 0) {
            scene.places[PLACE_DATA] = segment->vaddr;
        }
    }
    scene.places[PLACE_TEXT] = boot->kernel.entry;
    scene.places[PLACE_STACK] = info->stacks.virt + info->stacks.stride - 1;
    scene.places[PLACE_TRAMPOLINE] = (uint64_t)handoff_first;
    scene.places[PLACE_INFO] = info->self.virt;
    scene.places[PLACE_FRAMEBUFFER] = info->framebuffer.range.virt;
    scene.places[PLACE_FIRMWARE_IDT] = boot->cpu.idt.base;
    scene.places[PLACE_IDENTITY] = IDENTITY_VIRT;
    scene.places[PLACE_RECURSIVE] = address_space_recursive_virt(&boot->space);
    faults_spoil_tables(&boot->faults, &scene);
    flip_bit(&boot->space, &boot->config.flip);
}

void spoil_handoff(struct boot *boot) {
    faults_spoil_handoff(&boot->faults, &boot->arguments);
    faults_spoil_state(&boot->faults, &boot->planned);
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
