#include "base64.h"

#include <stdint.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(char *text_ret, const void *bytes, size_t count) {
    const uint8_t *byte = (const uint8_t *)bytes;
    for (size_t i = 0; i < count; i += 3) {
        size_t left = count - i;
        uint32_t group = (uint32_t)byte[i] << 16;
        group |= left > 1 ? (uint32_t)byte[i + 1] << 8 : 0;
        group |= left > 2 ? byte[i + 2] : 0;
        *text_ret++ = alphabet[group >> 18];
        *text_ret++ = alphabet[(group >> 12) & 63];
        *text_ret++ = left > 1 ? alphabet[(group >> 6) & 63] : '=';
        *text_ret++ = left > 2 ? alphabet[group & 63] : '=';
    }
}
