#include "trace/crc32.h"

/*
 * Remainders of the sixteen 4-bit values under the reflected polynomial EDB88320h. A nibble at a
 * time: two steps a byte are fast enough for an initrd of some MiB, and the table is one cache
 * line.
 */
static const uint32_t nibble_remainder[16] = {
    0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
    0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
};

uint32_t crc32_update(uint32_t crc, const void *bytes, size_t count) {
    const uint8_t *byte = (const uint8_t *)bytes;
    crc = ~crc;
    for (size_t i = 0; i < count; i++) {
        crc ^= byte[i];
        crc = (crc >> 4) ^ nibble_remainder[crc & 15];
        crc = (crc >> 4) ^ nibble_remainder[crc & 15];
    }
    return ~crc;
}
