/** Takes numbers off the bytes that a fuzzer gives; behind their end they are zeros. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct take {
    const uint8_t *bytes;
    size_t left;
};

/** The next `count` bytes, at most eight, as a little-endian number. */
static inline uint64_t take_number(struct take *take, size_t count) {
    uint64_t value = 0;
    size_t there = count < take->left ? count : take->left;
    memcpy(&value, take->bytes, there);
    take->bytes += there;
    take->left -= there;
    return value;
}
