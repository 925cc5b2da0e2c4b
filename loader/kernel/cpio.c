#include "kernel/cpio.h"

#include <stdbool.h>

#include "text.h"

/* The header is 110 ASCII bytes: a magic of 6, then 13 fields of 8 hexadecimal digits. */
#define HEADER_BYTES 110
#define FIELD_FILE_SIZE 6
#define FIELD_NAME_SIZE 11

static bool cpio_field(const char *header, unsigned field, size_t *value_ret) {
    const char *digits = header + 6 + 8 * field;
    size_t value = 0;
    for (unsigned i = 0; i < 8; i++) {
        char digit = digits[i];
        unsigned nibble;
        if (digit >= '0' && digit <= '9') {
            nibble = (unsigned)(digit - '0');
        } else if ((digit | 0x20) >= 'a' && (digit | 0x20) <= 'f') {
            nibble = (unsigned)((digit | 0x20) - 'a') + 10;
        } else {
            return false;
        }
        value = value << 4 | nibble;
    }
    *value_ret = value;
    return true;
}

static enum cpio_status cpio_malformed(struct message *why, const char *what, size_t offset) {
    message_start(why, what);
    message_text(why, " at byte ");
    message_decimal(why, offset);
    return CPIO_MALFORMED;
}

/* Names and contents are padded to 4 bytes, counted from the start of the archive. */
static size_t cpio_align(size_t offset) {
    return (offset + 3) & ~(size_t)3;
}

enum cpio_status cpio_find(const void *archive, size_t bytes, const char *name,
                           const void **data_ret, size_t *bytes_ret, struct message *why) {
    const char *start = archive;
    size_t offset = 0;
    for (;;) {
        size_t left = offset < bytes ? bytes - offset : 0;
        if (left == 0) {
            return cpio_malformed(why, "cpio archive is truncated: no trailer", bytes);
        }
        const char *header = start + offset;
        if (left < 6 || (!text_equals(header, 6, "070701") && !text_equals(header, 6, "070702"))) {
            return cpio_malformed(why, "not a cpio archive in newc form: bad magic", offset);
        }
        size_t file_bytes;
        size_t name_bytes;
        if (left < HEADER_BYTES) {
            return cpio_malformed(why, "cpio archive is truncated inside a header", offset);
        }
        if (!cpio_field(header, FIELD_FILE_SIZE, &file_bytes) ||
            !cpio_field(header, FIELD_NAME_SIZE, &name_bytes)) {
            return cpio_malformed(why, "cpio header with a size that is not hexadecimal", offset);
        }
        /* Sizes are below 2^32 and offsets below 2^64 - 2^34: none of these sums overflows. */
        size_t data = cpio_align(offset + HEADER_BYTES + name_bytes);
        if (name_bytes == 0 || data > bytes || file_bytes > bytes - data) {
            return cpio_malformed(why, "cpio archive is truncated: the file lies past its end",
                                  offset);
        }
        const char *entry = header + HEADER_BYTES;
        size_t entry_length = name_bytes - 1;
        if (text_equals(entry, entry_length, name)) {
            *data_ret = start + data;
            *bytes_ret = file_bytes;
            return CPIO_OK;
        }
        if (text_equals(entry, entry_length, "TRAILER!!!")) {
            message_start(why, "no file called ");
            message_text(why, name);
            return CPIO_NOT_FOUND;
        }
        offset = cpio_align(data + file_bytes);
    }
}
