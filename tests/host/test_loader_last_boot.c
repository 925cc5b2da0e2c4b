/** What a boot leaves for the next: found of the same boot alone, and memory that is none is not
 * read. */
#include "support/cmocka_test.h"

#include <stdlib.h>
#include <string.h>

#include "evidence/last_boot.h"
#include "trace/crc32.h"
#include "trace/paging.h"

static struct screen_sink sink;
static uint8_t variable[LAST_BOOT_BYTES];
static char lines[LAST_BOOT_FILE_BYTES];
static struct photo photo;
static uint8_t memory[LAST_BOOT_PAGES * 4096] __attribute__((aligned(4096)));

static void tell(const char *record) {
    sink.sink.write(&sink, record, strlen(record));
}

/* All of it is RAM of this type. */
static struct memory_map ram_of(uint32_t type) {
    static struct memory_descriptor one;
    one = (struct memory_descriptor){
        .type = type, .phys = (uint64_t)memory, .pages = LAST_BOOT_PAGES};
    return (struct memory_map){(const uint8_t *)&one, sizeof(one), sizeof(one), 1};
}

static size_t before_the_switch(void) {
    screen_sink_init(&sink, NULL);
    tell("@c3s1 0 begin producer=loader version=1 #0\n");
    tell("preflight: nothing good\r\n");
    size_t bytes = last_boot_pack(&sink, (uint64_t)memory, variable);
    (void)photo_keep(&sink.photo, sink.text, sink.used, memory, sizeof(memory));
    return bytes;
}

static void memory_of_the_same_boot_tells_more(void **state) {
    (void)state;
    struct photo_kept kept;
    struct memory_map ram = ram_of(7);
    bool is_after = true;
    size_t bytes = before_the_switch();
    assert_true(last_boot_find(variable, bytes, &ram, &kept, &is_after));
    assert_false(is_after);
    assert_string_equal(kept.text, "preflight: nothing good");
    tell("@c3s1 1 exit status=0 attempts=1 #0\n");
    tell("@c3s1 2 fault by=safe-idt vector=e error=3 #0\n");
    (void)photo_keep(&sink.photo, "died", 5, memory, sizeof(memory));
    assert_true(last_boot_find(variable, bytes, &ram, &kept, &is_after));
    assert_true(is_after);
    assert_string_equal(kept.text, "died");
    size_t count = last_boot_lines(&kept, &photo, lines);
    assert_true(count > 4 && memcmp(lines, "C3S:", 4) == 0 && lines[count - 1] == '\n');
}

static void memory_of_another_boot_or_none_is_not_taken(void **state) {
    (void)state;
    struct photo_kept kept;
    struct memory_map ram = ram_of(7);
    bool is_after = true;
    size_t bytes = before_the_switch();
    screen_sink_init(&sink, NULL);
    tell("@c3s1 0 begin producer=other version=2 #0\n");
    tell("@c3s1 2 fault by=safe-idt vector=e error=3 #0\n");
    (void)photo_keep(&sink.photo, "other", 6, memory, sizeof(memory));
    assert_true(last_boot_find(variable, bytes, &ram, &kept, &is_after));
    assert_false(is_after);
    ram = ram_of(0); /* reserved: nobody knows what a read does */
    assert_true(last_boot_find(variable, bytes, &ram, &kept, &is_after));
    assert_false(is_after);
    uint64_t nowhere = 0x1001;
    memcpy(variable, &nowhere, 8);
    assert_true(last_boot_find(variable, bytes, &ram, &kept, &is_after));
    assert_false(is_after);
}

/* "No memory is kept" is no address: where the map has a page 0, it need not be mapped. */
static void page_zero_is_not_read(void **state) {
    (void)state;
    struct photo_kept kept;
    bool is_after = true;
    (void)before_the_switch();
    struct memory_descriptor low = {.type = 7, .pages = LAST_BOOT_PAGES};
    struct memory_map ram = {(const uint8_t *)&low, sizeof(low), sizeof(low), 1};
    size_t bytes = last_boot_pack(&sink, 0, variable);
    assert_true(last_boot_find(variable, bytes, &ram, &kept, &is_after));
    assert_false(is_after);
}

/* The variable is that of whichever loader ran last. */
static void a_stream_of_another_version_is_nothing(void **state) {
    (void)state;
    struct photo_kept kept;
    struct memory_map ram = ram_of(7);
    bool is_after;
    size_t bytes = before_the_switch();
    uint8_t *stream = variable + 16 + 20;
    assert_true(last_boot_find(variable, bytes, &ram, &kept, &is_after));
    stream[0]++;
    uint32_t crc = crc32_update(0, stream, kept.stream_bytes + kept.text_bytes);
    memcpy(stream - 4, &crc, 4);
    assert_true(photo_kept(variable + 16, bytes - 16, &kept));
    assert_false(last_boot_find(variable, bytes, &ram, &kept, &is_after));
}

static void a_variable_of_somebody_else_is_nothing(void **state) {
    (void)state;
    struct photo_kept kept;
    struct memory_map ram = ram_of(7);
    bool is_after;
    size_t bytes = before_the_switch();
    assert_false(last_boot_find(variable, 0, &ram, &kept, &is_after));
    assert_false(last_boot_find(variable, 15, &ram, &kept, &is_after));
    for (size_t i = 16; i < bytes; i++) {
        variable[i] ^= 1;
        assert_false(last_boot_find(variable, bytes, &ram, &kept, &is_after));
        variable[i] ^= 1;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_of_the_same_boot_tells_more),
        cmocka_unit_test(memory_of_another_boot_or_none_is_not_taken),
        cmocka_unit_test(page_zero_is_not_read),
        cmocka_unit_test(a_variable_of_somebody_else_is_nothing),
        cmocka_unit_test(a_stream_of_another_version_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
