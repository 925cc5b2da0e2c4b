/** A line of text for a person, built without a formatter: what does not fit is cut. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define MESSAGE_BYTES 200

struct message {
    char text[MESSAGE_BYTES]; /* NUL-terminated */
    size_t length;
};

/** Drops what was there and begins with text. */
void message_start(struct message *message, const char *text);
/** Adds text, NUL-terminated. */
void message_text(struct message *message, const char *text);
/** At most `count` bytes, each outside printable ASCII as '?': for names that come from a file. */
void message_name(struct message *message, const char *name, size_t count);
/** 0x and lower-case digits. */
void message_hex(struct message *message, uint64_t value);
/** Digits without leading zeros. */
void message_decimal(struct message *message, uint64_t value);
/** 2 * `count` digits and a NUL to `text_ret`: a build id as tools print it. */
void message_digits(char *text_ret, const uint8_t *bytes, size_t count);
