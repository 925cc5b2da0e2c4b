/** The accesses that a kernel's notes announce, as a request takes them. */
#include "support/cmocka_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "evidence/noted_accesses.h"

#define MAX_NOTES 64u

static const struct noted_places places = {
    .stack_top = UINT64_C(0xfffffe0000005000),
    .info = UINT64_C(0xfffffc0000000000),
    .memory_map = UINT64_C(0xfffffc0000002000),
    .initrd = UINT64_C(0xfffffc0000100000),
    .framebuffer = UINT64_C(0xfffffd0000000000),
    .framebuffer_bytes = 0x300000,
};

struct note {
    struct elf64_note head;
    char owner[12];
    struct handoff_access access;
};

/* A file of nothing but notes; elf_check() would want more, its notes do not. */
struct notes_file {
    struct elf64_header header;
    struct elf64_segment segment;
    struct note notes[MAX_NOTES];
};

static struct notes_file *file_of(const struct handoff_access *accesses, size_t count) {
    struct notes_file *file = calloc(1, sizeof(*file));
    assert_non_null(file);
    assert_true(count <= MAX_NOTES);
    file->header.phoff = offsetof(struct notes_file, segment);
    file->header.phnum = 1;
    file->segment.type = SEGMENT_NOTE;
    file->segment.offset = offsetof(struct notes_file, notes);
    file->segment.filesz = count * sizeof(struct note);
    for (size_t i = 0; i < count; i++) {
        file->notes[i].head = (struct elf64_note){9, sizeof(accesses[i]), HANDOFF_NOTE_ACCESS};
        memcpy(file->notes[i].owner, HANDOFF_NOTE_OWNER, 9);
        file->notes[i].access = accesses[i];
    }
    return file;
}

static struct noted_accesses *noted(const struct noted_places *where,
                                    const struct handoff_access *accesses, size_t count) {
    static struct noted_accesses result;
    struct notes_file *file = file_of(accesses, count);
    const struct elf_image kernel = {.file = (const uint8_t *)file, .bytes = sizeof(*file)};
    memset(&result, 0x5a, sizeof(result));
    noted_accesses_read(&result, where, &kernel);
    free(file);
    return &result;
}

static void kernel_without_notes_announces_nothing(void **state) {
    (void)state;
    assert_int_equal(noted(&places, NULL, 0)->count, 0);
}

static void aligned_write_demands_its_width_and_a_power_of_two(void **state) {
    (void)state;
    struct handoff_access access = {
        .kind = HANDOFF_WRITE_ALIGNED, .base = HANDOFF_BASE_STACK, .width = 16, .name = "movaps"};
    const struct noted_accesses *read = noted(&places, &access, 1);
    assert_int_equal(read->count, 1);
    assert_int_equal(read->accesses[0].kind, CR3SCOPE_WRITES);
    assert_int_equal(read->accesses[0].align, 16);
    access.width = 24;
    assert_int_equal(noted(&places, &access, 1)->count, 0);
}

static const struct {
    uint32_t base;
    uint64_t virt; /* of offset 0 */
} bases[] = {
    {HANDOFF_BASE_ABSOLUTE, 0},
    {HANDOFF_BASE_INFO, UINT64_C(0xfffffc0000000000)},
    {HANDOFF_BASE_STACK, UINT64_C(0xfffffe0000004ff8)},
    {HANDOFF_BASE_FRAMEBUFFER, UINT64_C(0xfffffd0000000000)},
    {HANDOFF_BASE_INITRD, UINT64_C(0xfffffc0000100000)},
    {HANDOFF_BASE_MEMORY_MAP, UINT64_C(0xfffffc0000002000)},
    {HANDOFF_BASE_FRAMEBUFFER_END, UINT64_C(0xfffffd0000300000)},
};
#define BASES (sizeof(bases) / sizeof(bases[0]))

static void every_base_is_added_to_an_offset_of_either_sign(void **state) {
    (void)state;
    static const int64_t offsets[] = {0, 8, -8, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < BASES; i++) {
        for (size_t k = 0; k < sizeof(offsets) / sizeof(offsets[0]); k++) {
            const struct handoff_access access = {.rip = 0x42,
                                                  .offset = offsets[k],
                                                  .kind = HANDOFF_READ,
                                                  .base = bases[i].base,
                                                  .width = 4,
                                                  .name = "n"};
            const struct noted_accesses *read = noted(&places, &access, 1);
            assert_int_equal(read->count, 1);
            assert_int_equal(read->accesses[0].virt, bases[i].virt + (uint64_t)offsets[k]);
            assert_int_equal(read->accesses[0].width, 4);
            assert_int_equal(read->accesses[0].kind, CR3SCOPE_READS);
            assert_int_equal(read->accesses[0].rip, 0x42);
        }
    }
}

static void without_a_frame_buffer_its_accesses_are_skipped_and_the_others_kept(void **state) {
    (void)state;
    struct noted_places blind = places;
    struct handoff_access accesses[BASES];
    blind.framebuffer = blind.framebuffer_bytes = 0;
    for (size_t i = 0; i < BASES; i++) {
        accesses[i] = (struct handoff_access){
            .kind = HANDOFF_WRITE, .base = bases[i].base, .width = 8, .name = "n"};
    }
    const struct noted_accesses *read = noted(&blind, accesses, BASES);
    assert_int_equal(read->count, BASES - 2);
    assert_int_equal(read->accesses[3].virt, bases[4].virt);
    assert_int_equal(read->accesses[4].virt, bases[5].virt);
}

static void notes_with_impossible_values_are_skipped(void **state) {
    (void)state;
    static const struct handoff_access accesses[] = {
        {.kind = 4, .width = 1, .name = "kind"},
        {.kind = UINT32_MAX, .width = 1, .name = "kind"},
        {.kind = HANDOFF_READ, .base = 7, .width = 1, .name = "base"},
        {.kind = HANDOFF_READ, .base = UINT32_MAX, .width = 1, .name = "base"},
        {.kind = HANDOFF_READ, .width = 0, .name = "width"},
        {.kind = HANDOFF_READ, .width = HANDOFF_MAX_ACCESS_BYTES + 1, .name = "width"},
        {.kind = HANDOFF_READ, .width = UINT32_MAX, .name = "width"},
        {.kind = HANDOFF_READ, .width = HANDOFF_MAX_ACCESS_BYTES, .name = "good"},
    };
    const struct noted_accesses *read =
        noted(&places, accesses, sizeof(accesses) / sizeof(accesses[0]));
    assert_int_equal(read->count, 1);
    assert_string_equal(read->accesses[0].name, "good");
}

static void steps_that_do_not_fit_are_dropped_and_long_names_cut(void **state) {
    (void)state;
    struct handoff_access accesses[MAX_NOTES];
    for (size_t i = 0; i < MAX_NOTES; i++) {
        accesses[i] = (struct handoff_access){
            .rip = i, .kind = HANDOFF_READ, .base = HANDOFF_BASE_INFO, .width = 1};
        memset(accesses[i].name, 'x', sizeof(accesses[i].name));
    }
    const struct noted_accesses *read = noted(&places, accesses, MAX_NOTES);
    assert_int_equal(read->count, CR3SCOPE_MOST_ACCESSES);
    assert_int_equal(read->accesses[CR3SCOPE_MOST_ACCESSES - 1].rip, CR3SCOPE_MOST_ACCESSES - 1);
    for (size_t i = 0; i < read->count; i++) {
        assert_int_equal(strlen(read->accesses[i].name), sizeof(accesses[0].name) - 1);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernel_without_notes_announces_nothing),
        cmocka_unit_test(aligned_write_demands_its_width_and_a_power_of_two),
        cmocka_unit_test(every_base_is_added_to_an_offset_of_either_sign),
        cmocka_unit_test(without_a_frame_buffer_its_accesses_are_skipped_and_the_others_kept),
        cmocka_unit_test(notes_with_impossible_values_are_skipped),
        cmocka_unit_test(steps_that_do_not_fit_are_dropped_and_long_names_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
