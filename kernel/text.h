/** A short line of text, built piece by piece; what does not fit is cut off. */
#pragma once

#include <stddef.h>

#define TEXT_BYTES 160

struct text {
    size_t length;
    char bytes[TEXT_BYTES]; /* NUL-terminated */
};

/** Empties the text. */
void text_init(struct text *text);
/** Appends: a subset of printf: %s %c %u %lu %x %lx %%. Any other conversion is copied as it
 * stands. */
void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/** Empties the text, then appends. */
void text_set(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
