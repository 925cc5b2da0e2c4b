/** The firmware's final memory map (UEFI 2.10, 7.2.3), judged without trust in it. Pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "text.h"

struct memory_map {
    const void *bytes;
    uint64_t used;   /* bytes of it that are filled */
    uint32_t stride; /* from one descriptor to the next: the firmware's figure, not a sizeof */
};

/** A range of physical memory that somebody must keep. */
struct memory_owned {
    const char *name;
    uint64_t phys;
    uint64_t bytes; /* 0: none; rounded to pages outwards */
};

/** Strides, page counts, types, overlaps, and that there is memory at all. False: *detail_ret says
 * what. */
bool memory_map_is_sane(const struct memory_map *map, struct text *detail_ret);
/** Every page of the range is in the map and of a type that no kernel reclaims. */
bool memory_map_keeps(const struct memory_map *map, const struct memory_owned *owned,
                      struct text *detail_ret);
/** Whether they have a page in common. */
bool memory_owned_overlap(const struct memory_owned *left, const struct memory_owned *right);
