#include "memory_map.h"

#include "trace/paging.h"

/* What a descriptor holds, whatever its stride (UEFI 2.10, 7.2.3, EFI_MEMORY_DESCRIPTOR). */
struct descriptor {
    uint32_t type;
    uint32_t padding;
    uint64_t phys;
    uint64_t virt;
    uint64_t pages;
    uint64_t attributes;
};

enum memory_type {
    MEMORY_LOADER_CODE = 1,
    MEMORY_BOOT_SERVICES_CODE = 3,
    MEMORY_BOOT_SERVICES_DATA = 4,
    MEMORY_CONVENTIONAL = 7,
    MEMORY_UNACCEPTED = 15,              /* the last that the specification names */
    MEMORY_FIRST_OWN = (int)0x70000000u, /* from here: OEMs, then operating systems */
};

#define PHYS_LIMIT (UINT64_C(1) << 52) /* no x86-64 CPU has more physical address bits */

static uint64_t descriptor_count(const struct memory_map *map) {
    return map->used / map->stride;
}

static struct descriptor descriptor_at(const struct memory_map *map, uint64_t index) {
    struct descriptor descriptor;
    __builtin_memcpy(&descriptor, (const char *)map->bytes + index * map->stride,
                     sizeof(descriptor));
    return descriptor;
}

static uint64_t descriptor_end(const struct descriptor *descriptor) {
    return descriptor->phys + descriptor->pages * PAGE_BYTES;
}

static bool is_reclaimable(uint32_t type) {
    return type == MEMORY_LOADER_CODE || type == MEMORY_BOOT_SERVICES_CODE ||
           type == MEMORY_BOOT_SERVICES_DATA || type == MEMORY_CONVENTIONAL;
}

static bool is_plausible(const struct descriptor *descriptor) {
    return (descriptor->type <= MEMORY_UNACCEPTED || descriptor->type >= MEMORY_FIRST_OWN) &&
           descriptor->phys % PAGE_BYTES == 0 && descriptor->phys < PHYS_LIMIT &&
           descriptor->pages != 0 &&
           descriptor->pages <= (PHYS_LIMIT - descriptor->phys) / PAGE_BYTES;
}

/* Quadratic, since the firmware need not sort: some 150 descriptors are usual. */
static bool overlaps_earlier(const struct memory_map *map, uint64_t index) {
    struct descriptor later = descriptor_at(map, index);
    for (uint64_t i = 0; i < index; i++) {
        struct descriptor earlier = descriptor_at(map, i);
        if (later.phys < descriptor_end(&earlier) && earlier.phys < descriptor_end(&later)) {
            return true;
        }
    }
    return false;
}

bool memory_map_is_sane(const struct memory_map *map, struct text *detail_ret) {
    if (map->stride < sizeof(struct descriptor) || map->stride % 8 != 0 || map->used == 0 ||
        map->used % map->stride != 0) {
        text_set(detail_ret, "%lu bytes of descriptors of %u bytes", map->used, map->stride);
        return false;
    }
    uint64_t memory_pages = 0;
    for (uint64_t i = 0; i < descriptor_count(map); i++) {
        struct descriptor descriptor = descriptor_at(map, i);
        if (!is_plausible(&descriptor) || overlaps_earlier(map, i)) {
            text_set(detail_ret, "descriptor %lu: type %x phys %lx pages %lx %s", i,
                     descriptor.type, descriptor.phys, descriptor.pages,
                     is_plausible(&descriptor) ? "overlaps an earlier one" : "is not plausible");
            return false;
        }
        memory_pages += descriptor.type == MEMORY_CONVENTIONAL ? descriptor.pages : 0;
    }
    text_set(detail_ret, "%lu descriptors, %lu MiB free", descriptor_count(map),
             memory_pages * PAGE_BYTES >> 20);
    return memory_pages != 0;
}

/* The descriptor that holds the page at phys; false if none does. */
static bool find(const struct memory_map *map, uint64_t phys, struct descriptor *descriptor_ret) {
    for (uint64_t i = 0; i < descriptor_count(map); i++) {
        struct descriptor descriptor = descriptor_at(map, i);
        if (phys >= descriptor.phys && phys < descriptor_end(&descriptor)) {
            *descriptor_ret = descriptor;
            return true;
        }
    }
    return false;
}

bool memory_map_keeps(const struct memory_map *map, const struct memory_owned *owned,
                      struct text *detail_ret) {
    if (owned->phys >= PHYS_LIMIT || owned->bytes > PHYS_LIMIT - owned->phys) {
        text_set(detail_ret, "%s: %lx bytes at phys %lx", owned->name, owned->bytes, owned->phys);
        return false;
    }
    uint64_t phys = owned->phys & ~(PAGE_BYTES - 1);
    uint64_t end = owned->phys + owned->bytes;
    while (owned->bytes != 0 && phys < end) {
        struct descriptor descriptor;
        if (!find(map, phys, &descriptor)) {
            text_set(detail_ret, "%s: phys %lx is not in the memory map", owned->name, phys);
            return false;
        }
        if (is_reclaimable(descriptor.type)) {
            text_set(detail_ret, "%s: phys %lx has the reclaimable type %u", owned->name, phys,
                     descriptor.type);
            return false;
        }
        phys = descriptor_end(&descriptor);
    }
    return true;
}

static uint64_t page_end(const struct memory_owned *owned) {
    return (owned->phys + owned->bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
}

bool memory_owned_overlap(const struct memory_owned *left, const struct memory_owned *right) {
    return left->bytes != 0 && right->bytes != 0 &&
           (left->phys & ~(PAGE_BYTES - 1)) < page_end(right) &&
           (right->phys & ~(PAGE_BYTES - 1)) < page_end(left);
}
