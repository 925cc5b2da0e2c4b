/** The few string functions that the loader needs, on bytes with a length: input is never
 * NUL-terminated. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

static inline size_t text_length(const char *text) {
    size_t length = 0;
    while (text[length] != '\0') {
        length++;
    }
    return length;
}

/** Whether `count` bytes at `bytes` are exactly the NUL-terminated `text`. */
static inline bool text_equals(const char *bytes, size_t count, const char *text) {
    for (size_t i = 0; i < count; i++) {
        if (text[i] == '\0' || bytes[i] != text[i]) {
            return false;
        }
    }
    return text[count] == '\0';
}
