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

static bool is_stray(const struct boot *boot, uint64_t phys) {
    for (size_t i = 0; i < boot->stray_table_count; i++) {
        if (boot->stray_tables[i] == phys) {
            return true;
        }
    }
    return false;
}

static const uint64_t *readable_table(void *context, uint64_t phys) {
    struct boot *boot = context;
    if (!boot_owns_table(boot, phys) && !memory_map_is_ram(&boot->firmware_map, phys)) {
        return NULL;
    }
    return (const uint64_t *)(uintptr_t)phys;
}

static const uint64_t *noted_table(void *context, uint64_t phys) {
    struct boot *boot = context;
    if (!boot_owns_table(boot, phys) && !is_stray(boot, phys) &&
        boot->stray_table_count < STRAY_TABLES) {
        boot->stray_tables[boot->stray_table_count++] = phys;
    }
    return readable_table(context, phys);
}

static const uint64_t *pool_or_stray_table(void *context, uint64_t phys) {
    struct boot *boot = context;
    return boot_owns_table(boot, phys) || is_stray(boot, phys) ? readable_table(context, phys)
                                                               : NULL;
}

struct physical_memory boot_memory(struct boot *boot) {
    return (struct physical_memory){readable_table, boot};
}

struct physical_memory boot_memory_noted(struct boot *boot) {
    return (struct physical_memory){noted_table, boot};
}

struct physical_memory boot_memory_of_tables(struct boot *boot) {
    return (struct physical_memory){pool_or_stray_table, boot};
}
