/** The firmware's memory map as a table that pure code can read (UEFI specification, 7.2). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trace/trace.h"

/** Start of a descriptor; the map's stride may be larger than this structure. */
struct memory_descriptor {
    uint32_t type;
    uint32_t padding;
    uint64_t phys;
    uint64_t virt;
    uint64_t pages;
    uint64_t attributes;
};

struct memory_map {
    const uint8_t *descriptors; /* the caller's memory */
    size_t bytes;
    size_t descriptor_bytes; /* the stride */
    uint32_t descriptor_version;
};

/** A copy of descriptor number `index`, below memory_map_count. */
struct memory_descriptor memory_map_at(const struct memory_map *map, size_t index);
/** How many whole descriptors there are; 0 where the stride is shorter than a descriptor. */
size_t memory_map_count(const struct memory_map *map);
/** Whether the page at phys is memory that can be read without side effects. */
bool memory_map_is_ram(const struct memory_map *map, uint64_t phys);
/** One past the highest byte of memory. */
uint64_t memory_map_end(const struct memory_map *map);
/** Writes the `mmap` records. */
void memory_map_trace(const struct memory_map *map, struct trace *trace);
