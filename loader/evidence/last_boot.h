/** What a boot leaves for the next one (`last=show`): its trace, packed, in memory that a warm
 * reset spares, and in a variable of the firmware, which also tells where that memory is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory_map.h"
#include "trace/photo.h"
#include "trace/screen_sink.h"

#define LAST_BOOT_PAGES ((PHOTO_KEPT_BYTES + 4095) / 4096)
#define LAST_BOOT_BYTES (16 + PHOTO_KEPT_BYTES)
/* Frames as lines of text. */
#define LAST_BOOT_FILE "\\cr3scope.lst"
#define LAST_BOOT_FILE_BYTES 16384u

/** Fills the variable: what the sink holds, and where memory is kept; returns its bytes. */
size_t last_boot_pack(const struct screen_sink *sink, uint64_t kept_phys, uint8_t *bytes_ret);
/**
 * Finds what an earlier boot has left, of its variable's bytes; ram tells what of memory may be
 * read. is_after_ret: it is from memory, and holds what was told behind the switch. False if there
 * is nothing that is whole, and of this version.
 */
bool last_boot_find(const uint8_t *bytes, size_t count, const struct memory_map *ram,
                    struct photo_kept *kept_ret, bool *is_after_ret)
    __attribute__((warn_unused_result));
/** The lines of a file that cr3scope analyze reads; returns their bytes. */
size_t last_boot_lines(const struct photo_kept *kept, struct photo *photo, char *lines_ret);
