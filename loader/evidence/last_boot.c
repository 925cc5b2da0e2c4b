#include "evidence/last_boot.h"

#include "trace/paging.h"
#include "trace/qr.h"

#define PLACE_BYTES 16u /* where memory is kept, and how much */

size_t last_boot_pack(const struct screen_sink *sink, uint64_t kept_phys, uint8_t *bytes_ret) {
    uint64_t place[2] = {kept_phys, LAST_BOOT_PAGES * PAGE_BYTES};
    __builtin_memcpy(bytes_ret, place, PLACE_BYTES);
    return PLACE_BYTES + photo_keep(&sink->photo, sink->text, sink->used, bytes_ret + PLACE_BYTES,
                                    PHOTO_KEPT_BYTES);
}

static bool is_ram(const struct memory_map *ram, uint64_t phys, uint64_t bytes) {
    if (phys == 0 || phys % PAGE_BYTES != 0 || bytes != LAST_BOOT_PAGES * PAGE_BYTES ||
        phys + bytes < phys) {
        return false;
    }
    for (uint64_t page = phys; page < phys + bytes; page += PAGE_BYTES) {
        if (!memory_map_is_ram(ram, page)) {
            return false;
        }
    }
    return true;
}

/* What the variable has stands in memory too, behind an exception's record and before what came
 * later: else it is that of another boot. */
static bool is_same_boot(const struct photo_kept *memory, const struct photo_kept *variable) {
    size_t rest = variable->stream_bytes - PHOTO_HEAD_BYTES;
    for (size_t before = PHOTO_HEAD_BYTES;
         before <= PHOTO_HEAD_BYTES + PHOTO_FAULT_BYTES && before + rest <= memory->stream_bytes;
         before++) {
        if (__builtin_memcmp(memory->stream + before, variable->stream + PHOTO_HEAD_BYTES, rest) ==
            0) {
            return true;
        }
    }
    return false;
}

bool last_boot_find(const uint8_t *bytes, size_t count, const struct memory_map *ram,
                    struct photo_kept *kept_ret, bool *is_after_ret) {
    uint64_t place[2];
    struct photo_kept memory;
    if (count < PLACE_BYTES || !photo_kept(bytes + PLACE_BYTES, count - PLACE_BYTES, kept_ret) ||
        !photo_is_stream(kept_ret->stream, kept_ret->stream_bytes)) {
        return false;
    }
    __builtin_memcpy(place, bytes, PLACE_BYTES);
    *is_after_ret = kept_ret->stream_bytes > PHOTO_HEAD_BYTES && is_ram(ram, place[0], place[1]) &&
                    photo_kept((const void *)(uintptr_t)place[0], place[1], &memory) &&
                    photo_is_stream(memory.stream, memory.stream_bytes) &&
                    is_same_boot(&memory, kept_ret) && memory.stream_bytes > kept_ret->stream_bytes;
    if (*is_after_ret) {
        *kept_ret = memory;
    }
    return true;
}

size_t last_boot_lines(const struct photo_kept *kept, struct photo *photo, char *lines_ret) {
    size_t used = 0;
    if (!photo_adopt(photo, kept->stream, kept->stream_bytes)) {
        return 0;
    }
    unsigned frames = photo_frames(photo, QR_MOST_CHARACTERS);
    for (unsigned i = 0; i < frames && used + QR_MOST_CHARACTERS < LAST_BOOT_FILE_BYTES; i++) {
        used += photo_frame(photo, QR_MOST_CHARACTERS, i, lines_ret + used);
        lines_ret[used++] = '\n';
    }
    return used;
}
