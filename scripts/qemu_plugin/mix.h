#pragma once

#include <stdint.h>

/** Return a number in which every bit depends on every bit of both. */
static inline uint64_t mix(uint64_t first, uint64_t second) {
    uint64_t value = (first ^ second * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xbf58476d1ce4e5b9);

    return value ^ value >> 29;
}
