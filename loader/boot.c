#include "boot.h"

#include "trace/control_registers.h"

bool boot_refuse(struct boot *boot, const char *where) {
    boot->where = where;
    return false;
}

unsigned boot_levels(const struct boot *boot) {
    return (boot->cpu.cr4 & CR4_LA57) != 0 ? 5 : 4;
}

static const uint64_t *readable_table(void *context, uint64_t phys) {
    struct boot *boot = context;
    bool ours = phys >= boot->space.pool_phys &&
                phys - boot->space.pool_phys < boot->space.pool_pages * PAGE_BYTES;
    if (!ours && !memory_map_is_ram(&boot->firmware_map, phys)) {
        return NULL;
    }
    return (const uint64_t *)(uintptr_t)phys;
}

struct physical_memory boot_memory(struct boot *boot) {
    return (struct physical_memory){readable_table, boot};
}
