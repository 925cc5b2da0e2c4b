#include "memory_map.h"

/* UEFI memory types (UEFI specification, table 7.10). */
#define TYPE_RESERVED 0u
#define TYPE_UNUSABLE 8u
#define TYPE_MMIO 11u
#define TYPE_MMIO_PORTS 12u
#define TYPE_UNACCEPTED 15u

#define PAGE_SHIFT 12
/* Longest item: four numbers of 16 digits, three separators, NUL. */
#define ITEM_BYTES 68

size_t memory_map_count(const struct memory_map *map) {
    if (map->descriptor_bytes < sizeof(struct memory_descriptor)) {
        return 0;
    }
    return map->bytes / map->descriptor_bytes;
}

struct memory_descriptor memory_map_at(const struct memory_map *map, size_t index) {
    struct memory_descriptor descriptor;
    __builtin_memcpy(&descriptor, map->descriptors + index * map->descriptor_bytes,
                     sizeof(descriptor));
    return descriptor;
}

static bool type_is_ram(uint32_t type) {
    return type != TYPE_RESERVED && type != TYPE_UNUSABLE && type != TYPE_MMIO &&
           type != TYPE_MMIO_PORTS && type != TYPE_UNACCEPTED;
}

bool memory_map_is_ram(const struct memory_map *map, uint64_t phys) {
    for (size_t i = 0; i < memory_map_count(map); i++) {
        struct memory_descriptor descriptor = memory_map_at(map, i);
        if (phys >= descriptor.phys && phys - descriptor.phys < descriptor.pages << PAGE_SHIFT) {
            return type_is_ram(descriptor.type);
        }
    }
    return false;
}

uint64_t memory_map_end(const struct memory_map *map) {
    uint64_t end = 0;
    for (size_t i = 0; i < memory_map_count(map); i++) {
        struct memory_descriptor descriptor = memory_map_at(map, i);
        uint64_t last = descriptor.phys + (descriptor.pages << PAGE_SHIFT);
        if (type_is_ram(descriptor.type) && last > end) {
            end = last;
        }
    }
    return end;
}

static size_t put_hex(char *out, uint64_t value) {
    size_t digits = 1;
    while (digits < 16 && value >> (4 * digits) != 0) {
        digits++;
    }
    for (size_t i = 0; i < digits; i++) {
        out[i] = "0123456789abcdef"[value >> (4 * (digits - 1 - i)) & 15];
    }
    return digits;
}

static size_t put_item(char *out, const struct memory_descriptor *now, uint64_t expected_phys,
                       uint64_t expected_attributes, bool complete) {
    size_t length = 0;
    if (complete || now->phys != expected_phys) {
        length += put_hex(out + length, now->phys >> PAGE_SHIFT);
    }
    out[length++] = ':';
    length += put_hex(out + length, now->pages);
    out[length++] = ':';
    length += put_hex(out + length, now->type);
    out[length++] = ':';
    if (complete || now->attributes != expected_attributes) {
        length += put_hex(out + length, now->attributes);
    }
    return length;
}

void memory_map_trace(const struct memory_map *map, struct trace *trace) {
    size_t count = memory_map_count(map);
    for (size_t i = 0; i < count;) {
        size_t first = i;
        struct memory_descriptor before = {0};
        trace_open(trace, "mmap");
        trace_hex(trace, "index", first);
        trace_hex(trace, "total", count);
        trace_hex(trace, "size", map->descriptor_bytes);
        trace_list(trace, "d");
        while (i < count) {
            struct memory_descriptor now = memory_map_at(map, i);
            char item[ITEM_BYTES];
            item[put_item(item, &now, before.phys + (before.pages << PAGE_SHIFT), before.attributes,
                          i == first)] = '\0';
            if (!trace_item(trace, item)) {
                break;
            }
            before = now;
            i++;
        }
        trace_close(trace);
    }
}
