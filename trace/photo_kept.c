/* A stream, and its lines for people, in memory that outlives a reset. */
#include "trace/crc32.h"
#include "trace/photo.h"

#define KEPT_MARK "C3SKEEP1"
#define MARK_BYTES 8u
#define KEPT_HEAD 20u /* mark, bytes of the stream, bytes of the text, CRC-32 of both */

static void store_word(uint8_t *bytes_ret, size_t word) {
    for (unsigned i = 0; i < 4; i++) {
        bytes_ret[i] = (uint8_t)(word >> 8 * i);
    }
}

static uint32_t load_word(const uint8_t *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

size_t photo_keep(const struct photo *photo, const char *text, size_t text_bytes, void *memory_ret,
                  size_t bytes) {
    uint8_t *kept = (uint8_t *)memory_ret;
    size_t size = photo_size(photo);
    if (bytes < KEPT_HEAD || bytes - KEPT_HEAD < size) {
        return 0;
    }
    if (text_bytes > bytes - KEPT_HEAD - size) {
        text_bytes = bytes - KEPT_HEAD - size;
    }
    photo_read(photo, 0, kept + KEPT_HEAD, size);
    __builtin_memcpy(kept + KEPT_HEAD + size, text, text_bytes);
    store_word(kept + MARK_BYTES, size);
    store_word(kept + MARK_BYTES + 4, text_bytes);
    store_word(kept + MARK_BYTES + 8, crc32_update(0, kept + KEPT_HEAD, size + text_bytes));
    __builtin_memcpy(kept, KEPT_MARK, MARK_BYTES);
    return KEPT_HEAD + size + text_bytes;
}

bool photo_kept(const void *memory, size_t bytes, struct photo_kept *kept_ret) {
    const uint8_t *kept = (const uint8_t *)memory;
    if (bytes < KEPT_HEAD || __builtin_memcmp(kept, KEPT_MARK, MARK_BYTES) != 0) {
        return false;
    }
    size_t size = load_word(kept + MARK_BYTES);
    size_t text_bytes = load_word(kept + MARK_BYTES + 4);
    if (size > bytes - KEPT_HEAD || text_bytes > bytes - KEPT_HEAD - size ||
        crc32_update(0, kept + KEPT_HEAD, size + text_bytes) != load_word(kept + MARK_BYTES + 8)) {
        return false;
    }
    kept_ret->stream = kept + KEPT_HEAD;
    kept_ret->stream_bytes = size;
    kept_ret->text = (const char *)kept + KEPT_HEAD + size;
    kept_ret->text_bytes = text_bytes;
    return true;
}
