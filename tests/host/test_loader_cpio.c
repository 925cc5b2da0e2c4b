/** The initrd's cpio reader: what it finds, what it refuses, and that no damage makes it read past
 * the archive's end. */
#include "support/cmocka_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/cpio.h"

#define ARCHIVE_ROOM 1024u
#define HEADER_BYTES 110u
#define FILE_SIZE_AT (6u + 8u * 6u)
#define NAME_SIZE_AT (6u + 8u * 11u)

struct archive {
    char bytes[ARCHIVE_ROOM];
    size_t used;
};

static void pad(struct archive *archive) {
    while (archive->used % 4 != 0) {
        archive->bytes[archive->used++] = '\0';
    }
}

static void add_file(struct archive *archive, const char *name, const char *content) {
    unsigned name_bytes = (unsigned)strlen(name) + 1;
    unsigned content_bytes = (unsigned)strlen(content);
    int header = snprintf(archive->bytes + archive->used, ARCHIVE_ROOM - archive->used,
                          "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", 1u, 0x81a4u,
                          0u, 0u, 1u, 0u, content_bytes, 0u, 0u, 0u, 0u, name_bytes, 0u);
    assert_int_equal(header, HEADER_BYTES);
    archive->used += HEADER_BYTES;
    memcpy(archive->bytes + archive->used, name, name_bytes);
    archive->used += name_bytes;
    pad(archive);
    memcpy(archive->bytes + archive->used, content, content_bytes);
    archive->used += content_bytes;
    pad(archive);
}

static struct archive sample(void) {
    struct archive archive = {.used = 0};
    add_file(&archive, "etc/motd", "hello");
    add_file(&archive, "kernel.elf", "the kernel");
    add_file(&archive, "empty", "");
    add_file(&archive, "TRAILER!!!", "");
    return archive;
}

/* The archive lies at the end of a block of its own: one byte further is the sanitizer's. */
static enum cpio_status find(const char *bytes, size_t count, const char *name, const void **data,
                             size_t *data_bytes, struct message *why) {
    static char *block;
    free(block);
    block = malloc(count + 1);
    assert_non_null(block);
    memcpy(block, bytes, count);
    block = realloc(block, count > 0 ? count : 1);
    assert_non_null(block);
    return cpio_find(block, count, name, data, data_bytes, why);
}

static void assert_malformed(const char *bytes, size_t count, const char *expected) {
    const void *data = "untouched";
    const void *before = data;
    size_t data_bytes = 77;
    struct message why;
    assert_int_equal(find(bytes, count, "kernel.elf", &data, &data_bytes, &why), CPIO_MALFORMED);
    assert_string_equal(why.text, expected);
    assert_ptr_equal(data, before);
    assert_int_equal(data_bytes, 77);
}

static void file_is_found_by_its_whole_name(void **state) {
    (void)state;
    struct archive archive = sample();
    const void *data;
    size_t bytes;
    struct message why;
    assert_int_equal(find(archive.bytes, archive.used, "kernel.elf", &data, &bytes, &why), CPIO_OK);
    assert_int_equal(bytes, 10);
    assert_memory_equal(data, "the kernel", 10);
    assert_int_equal(find(archive.bytes, archive.used, "etc/motd", &data, &bytes, &why), CPIO_OK);
    assert_memory_equal(data, "hello", 5);
    assert_int_equal(find(archive.bytes, archive.used, "empty", &data, &bytes, &why), CPIO_OK);
    assert_int_equal(bytes, 0);
}

static void absent_name_is_reported_by_name(void **state) {
    (void)state;
    struct archive archive = sample();
    static const char *const names[] = {"kernel", "kernel.elf2", "ernel.elf", ""};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const void *data;
        size_t bytes;
        struct message why;
        char expected[64];
        snprintf(expected, sizeof(expected), "no file called %s", names[i]);
        assert_int_equal(find(archive.bytes, archive.used, names[i], &data, &bytes, &why),
                         CPIO_NOT_FOUND);
        assert_string_equal(why.text, expected);
    }
}

static void form_with_checksums_is_read_too(void **state) {
    (void)state;
    struct archive archive = sample();
    archive.bytes[5] = '2';
    const void *data;
    size_t bytes;
    struct message why;
    assert_int_equal(find(archive.bytes, archive.used, "kernel.elf", &data, &bytes, &why), CPIO_OK);
}

static void empty_initrd_is_refused(void **state) {
    (void)state;
    assert_malformed("", 0, "cpio archive is truncated: no trailer at byte 0");
}

static void other_form_is_refused_with_the_offset_of_its_magic(void **state) {
    (void)state;
    struct archive archive = sample();
    assert_malformed("\x1f\x8b\x08\x00\x00\x00\x00", 7,
                     "not a cpio archive in newc form: bad magic at byte 0");
    archive.bytes[128] = 'x'; /* the second header: 110 + 9, padded, + 5, padded */
    assert_malformed(archive.bytes, archive.used,
                     "not a cpio archive in newc form: bad magic at byte 128");
}

static void size_that_is_not_hexadecimal_is_refused(void **state) {
    (void)state;
    static const unsigned places[] = {FILE_SIZE_AT, FILE_SIZE_AT + 7, NAME_SIZE_AT,
                                      NAME_SIZE_AT + 7};
    static const char bad[] = {'g', 'G', ' ', '/', ':', '@', '`', '\0', '\xff'};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        for (size_t k = 0; k < sizeof(bad); k++) {
            struct archive archive = sample();
            archive.bytes[places[i]] = bad[k];
            assert_malformed(archive.bytes, archive.used,
                             "cpio header with a size that is not hexadecimal at byte 0");
        }
    }
}

static void sizes_past_the_end_are_refused(void **state) {
    (void)state;
    static const char past[] = "cpio archive is truncated: the file lies past its end at byte 0";
    static const unsigned places[] = {FILE_SIZE_AT, NAME_SIZE_AT};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        struct archive archive = sample();
        memcpy(archive.bytes + places[i], "ffffffff", 8);
        assert_malformed(archive.bytes, archive.used, past);
        memcpy(archive.bytes + places[i], "7FFFFFFF", 8);
        assert_malformed(archive.bytes, archive.used, past);
    }
    struct archive archive = sample();
    memcpy(archive.bytes + NAME_SIZE_AT, "00000000", 8);
    assert_malformed(archive.bytes, archive.used, past);
}

static void every_truncation_is_refused_until_the_file_is_whole(void **state) {
    (void)state;
    struct archive archive = sample();
    const void *data;
    size_t bytes;
    struct message why;
    assert_int_equal(find(archive.bytes, archive.used, "kernel.elf", &data, &bytes, &why), CPIO_OK);
    size_t whole = 128 + 124 + 10; /* the second header and name, padded, and the content */
    for (size_t length = 0; length < archive.used; length++) {
        enum cpio_status status = find(archive.bytes, length, "kernel.elf", &data, &bytes, &why);
        assert_int_equal(status, length < whole ? CPIO_MALFORMED : CPIO_OK);
        status = find(archive.bytes, length, "absent", &data, &bytes, &why);
        assert_int_equal(status, CPIO_MALFORMED);
    }
}

static void every_damaged_byte_is_survived_and_what_is_found_lies_inside(void **state) {
    (void)state;
    static const char *const names[] = {"kernel.elf", "absent"};
    struct archive archive = sample();
    for (size_t at = 0; at < archive.used; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            struct archive damaged = archive;
            damaged.bytes[at] = (char)(damaged.bytes[at] ^ (1 << bit));
            char *block = malloc(damaged.used);
            assert_non_null(block);
            memcpy(block, damaged.bytes, damaged.used);
            for (size_t i = 0; i < 2; i++) {
                const void *data;
                size_t bytes;
                struct message why;
                if (cpio_find(block, damaged.used, names[i], &data, &bytes, &why) == CPIO_OK) {
                    size_t offset = (size_t)((const char *)data - block);
                    assert_true(offset <= damaged.used && bytes <= damaged.used - offset);
                } else {
                    assert_true(why.length > 0);
                }
            }
            free(block);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_is_found_by_its_whole_name),
        cmocka_unit_test(absent_name_is_reported_by_name),
        cmocka_unit_test(form_with_checksums_is_read_too),
        cmocka_unit_test(empty_initrd_is_refused),
        cmocka_unit_test(other_form_is_refused_with_the_offset_of_its_magic),
        cmocka_unit_test(size_that_is_not_hexadecimal_is_refused),
        cmocka_unit_test(sizes_past_the_end_are_refused),
        cmocka_unit_test(every_truncation_is_refused_until_the_file_is_whole),
        cmocka_unit_test(every_damaged_byte_is_survived_and_what_is_found_lies_inside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
