/** The checksum of records, streams and files: CRC-32 (IEEE 802.3, reflected), as zlib's. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** Goes on with `crc` (0 at the start) over count bytes and returns the new value. */
uint32_t crc32_update(uint32_t crc, const void *bytes, size_t count);
