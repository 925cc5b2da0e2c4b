#include "boot.h"

#include "trace/control_registers.h"

bool boot_refuse(struct boot *boot, const char *where) {
    boot->where = where;
    return false;
}

unsigned boot_levels(const struct boot *boot) {
    return (boot->cpu.cr4 & CR4_LA57) != 0 ? 5 : 4;
}

bool boot_owns_table(const struct boot *boot, uint64_t phys) {
    return phys >= boot->space.pool_phys &&
           phys - boot->space.pool_phys < boot->space.pool_pages * PAGE_BYTES;
}

const uint64_t *boot_table(void *boot, uint64_t phys) {
    const struct boot *own = boot;
    if (!boot_owns_table(own, phys) && !memory_map_is_ram(&own->firmware_map, phys)) {
        return NULL;
    }
    return (const uint64_t *)(uintptr_t)phys;
}
