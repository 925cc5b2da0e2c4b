/** Base64 as RFC 4648 section 4 defines it, with padding. */
#pragma once

#include <stddef.h>

/** Characters that count bytes become. */
static inline size_t base64_length(size_t count) {
    return (count + 2) / 3 * 4;
}

/** Bytes that fit into so many characters. */
static inline size_t base64_capacity(size_t characters) {
    return characters / 4 * 3;
}

/** Writes base64_length(count) characters, no NUL. */
void base64_encode(char *text_ret, const void *bytes, size_t count);
