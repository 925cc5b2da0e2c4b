#pragma once

/** Numbers of what has come before: a table from two numbers to one. */

#include <stdint.h>

struct known {
    struct known_item *items;
    uint32_t size; /* a power of two; 0 before the first item */
    uint32_t count;
};

/** Return the number that was put there; 0 for none. */
uint32_t known_get(const struct known *known, uint64_t first, uint64_t second);

/** Remember a number that is not 0. Without memory it is forgotten, and later made again. */
void known_put(struct known *known, uint64_t first, uint64_t second, uint32_t number);
