/** The kernel's ELF file: what is taken from a good one, every refusal, and that no damage is
 * accepted which would make the loader read outside the file. */
#include "support/cmocka_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/elf.h"
#include "support/fake_memory.h"
#include "trace/paging.h"

#define TEXT_VIRT UINT64_C(0xffffffff80000000)
#define RODATA_VIRT UINT64_C(0xffffffff80001000)
#define DATA_VIRT UINT64_C(0xffffffff80003000)

/* A kernel of three segments and three notes, as its bytes. */
struct kernel_file {
    struct elf64_header header;
    struct elf64_segment text, rodata, data, notes;
    struct {
        struct elf64_note head;
        char owner[4];
        uint8_t id[ELF_BUILD_ID_BYTES];
    } build_id;
    struct {
        struct elf64_note head;
        char owner[12];
        uint32_t flags;
    } flags;
    struct {
        struct elf64_note head;
        char owner[12];
        struct handoff_access access;
    } access;
    uint8_t code[64];
    uint8_t bytes[32];
};

static struct elf64_note note_head(unsigned name_bytes, size_t description_bytes, uint32_t type) {
    return (struct elf64_note){name_bytes, (uint32_t)description_bytes, type};
}

static struct elf64_segment segment(uint32_t flags, uint64_t virt, size_t offset, size_t filesz,
                                    uint64_t memsz) {
    return (struct elf64_segment){SEGMENT_LOAD, flags, offset, virt, 0, filesz, memsz, PAGE_BYTES};
}

static struct kernel_file sample(void) {
    struct kernel_file file;
    memset(&file, 0, sizeof(file));
    memcpy(file.header.ident, "\177ELF\2\1\1", 7);
    file.header.type = ELF_TYPE_EXECUTABLE;
    file.header.machine = ELF_MACHINE_X86_64;
    file.header.version = 1;
    file.header.entry = TEXT_VIRT + 16;
    file.header.phoff = offsetof(struct kernel_file, text);
    file.header.ehsize = sizeof(file.header);
    file.header.phentsize = sizeof(file.text);
    file.header.phnum = 4;
    file.text = segment(SEGMENT_READ | SEGMENT_EXECUTE, TEXT_VIRT,
                        offsetof(struct kernel_file, code), sizeof(file.code), sizeof(file.code));
    file.rodata = segment(SEGMENT_READ, RODATA_VIRT, offsetof(struct kernel_file, bytes),
                          sizeof(file.bytes), sizeof(file.bytes));
    file.data = segment(SEGMENT_READ | SEGMENT_WRITE, DATA_VIRT,
                        offsetof(struct kernel_file, bytes), 8, 0x2345);
    size_t notes_at = offsetof(struct kernel_file, build_id);
    file.notes = segment(SEGMENT_READ, 0, notes_at, offsetof(struct kernel_file, code) - notes_at,
                         offsetof(struct kernel_file, code) - notes_at);
    file.notes.type = SEGMENT_NOTE;
    file.build_id.head = note_head(4, sizeof(file.build_id.id), 3);
    memcpy(file.build_id.owner, "GNU", 4);
    for (unsigned i = 0; i < sizeof(file.build_id.id); i++) {
        file.build_id.id[i] = (uint8_t)(0xa0 + i);
    }
    file.flags.head = note_head(9, sizeof(file.flags.flags), HANDOFF_NOTE_FLAGS);
    memcpy(file.flags.owner, HANDOFF_NOTE_OWNER, 9);
    file.flags.flags = HANDOFF_FLAG_TRACES;
    file.access.head = note_head(9, sizeof(file.access.access), HANDOFF_NOTE_ACCESS);
    memcpy(file.access.owner, HANDOFF_NOTE_OWNER, 9);
    file.access.access = (struct handoff_access){
        .rip = 0x1234, .offset = -8, .kind = HANDOFF_READ, .base = HANDOFF_BASE_INFO, .width = 8};
    memcpy(file.access.access.name, "boot info", 10);
    return file;
}

/* In a block of exactly its size: one byte further is the sanitizer's. The caller frees it. */
static uint8_t *copy(const struct kernel_file *file, size_t bytes) {
    uint8_t *block = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(block);
    memcpy(block, file, bytes);
    return block;
}

static void assert_refused_at(const struct kernel_file *file, unsigned levels,
                              const char *expected) {
    uint8_t *block = copy(file, sizeof(*file));
    struct elf_image image;
    struct message why;
    memset(&image, 0x5a, sizeof(image));
    const struct elf_image before = image;
    assert_false(elf_check(block, sizeof(*file), levels, &image, &why));
    assert_string_equal(why.text, expected);
    assert_memory_equal(&image, &before, sizeof(image));
    free(block);
}

static void assert_refused(const struct kernel_file *file, const char *expected) {
    assert_refused_at(file, 4, expected);
}

/* What may be relied on once a file is accepted. */
static void assert_image_is_sound(const struct elf_image *image, unsigned levels) {
    assert_int_in_range(image->segment_count, 1, HANDOFF_MAX_SEGMENTS);
    bool entry_found = false;
    for (size_t i = 0; i < image->segment_count; i++) {
        const struct elf64_segment *now = &image->segments[i];
        assert_true(now->memsz > 0 && now->filesz <= now->memsz);
        assert_true(now->offset <= image->bytes && now->filesz <= image->bytes - now->offset);
        assert_true(virt_is_canonical(now->vaddr, levels));
        assert_true(virt_is_canonical(now->vaddr + now->memsz - 1, levels));
        assert_true((now->flags & (SEGMENT_WRITE | SEGMENT_EXECUTE)) !=
                    (SEGMENT_WRITE | SEGMENT_EXECUTE));
        assert_true(now->vaddr >= image->first_page);
        assert_true(now->vaddr + (now->memsz - 1) <= image->last_page + (PAGE_BYTES - 1));
        if (i > 0) {
            const struct elf64_segment *low = &image->segments[i - 1];
            assert_true(low->vaddr + (low->memsz - 1) < now->vaddr);
        }
        entry_found =
            entry_found || ((now->flags & SEGMENT_EXECUTE) != 0 && image->entry >= now->vaddr &&
                            image->entry - now->vaddr < now->filesz);
    }
    assert_true(entry_found);
    assert_true(image->first_page % PAGE_BYTES == 0 && image->last_page % PAGE_BYTES == 0);
    assert_true(image->last_page - image->first_page < ELF_MAX_SPAN_BYTES);
    assert_true(image->build_id_bytes <= ELF_BUILD_ID_BYTES);
    size_t cursor = 0;
    struct handoff_access access;
    while (elf_next_access(image, &cursor, &access)) {
        assert_non_null(memchr(access.name, '\0', sizeof(access.name)));
    }
}

static void good_file_gives_segments_by_address_entry_notes_and_build_id(void **state) {
    (void)state;
    struct kernel_file file = sample();
    const struct elf64_segment swap = file.text;
    file.text = file.data;
    file.data = swap;
    uint8_t *block = copy(&file, sizeof(file));
    struct elf_image image;
    struct message why;
    assert_true(elf_check(block, sizeof(file), 4, &image, &why));
    assert_image_is_sound(&image, 4);
    assert_int_equal(image.segment_count, 3);
    assert_int_equal(image.segments[0].vaddr, TEXT_VIRT);
    assert_int_equal(image.segments[1].vaddr, RODATA_VIRT);
    assert_int_equal(image.segments[2].vaddr, DATA_VIRT);
    assert_int_equal(image.entry, TEXT_VIRT + 16);
    assert_int_equal(image.first_page, TEXT_VIRT);
    assert_int_equal(image.last_page, DATA_VIRT + 0x2000);
    assert_int_equal(image.note_flags, HANDOFF_FLAG_TRACES);
    assert_int_equal(image.build_id_bytes, sizeof(file.build_id.id));
    assert_memory_equal(image.build_id, file.build_id.id, sizeof(file.build_id.id));

    size_t cursor = 0;
    struct handoff_access access;
    assert_true(elf_next_access(&image, &cursor, &access));
    assert_memory_equal(&access, &file.access.access, sizeof(access));
    assert_false(elf_next_access(&image, &cursor, &access));
    free(block);
}

static void access_name_is_terminated_whatever_the_file_says(void **state) {
    (void)state;
    struct kernel_file file = sample();
    memset(file.access.access.name, 'x', sizeof(file.access.access.name));
    uint8_t *block = copy(&file, sizeof(file));
    struct elf_image image;
    struct message why;
    assert_true(elf_check(block, sizeof(file), 4, &image, &why));
    size_t cursor = 0;
    struct handoff_access access;
    assert_true(elf_next_access(&image, &cursor, &access));
    assert_int_equal(strlen(access.name), sizeof(access.name) - 1);
    free(block);
}

static void malformed_notes_are_no_reason_to_refuse_a_kernel(void **state) {
    (void)state;
    struct kernel_file file = sample();
    static const uint32_t sizes[] = {0, 5, 21, 4096, 0x7fffffff, 0xfffffffc, 0xffffffff};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (unsigned which = 0; which < 2; which++) {
            struct kernel_file damaged = file;
            if (which == 0) {
                damaged.build_id.head.name_bytes = sizes[i];
            } else {
                damaged.build_id.head.description_bytes = sizes[i];
            }
            uint8_t *block = copy(&damaged, sizeof(damaged));
            struct elf_image image;
            struct message why;
            assert_true(elf_check(block, sizeof(damaged), 4, &image, &why));
            assert_image_is_sound(&image, 4);
            free(block);
        }
    }
    file.notes.offset = UINT64_MAX;
    uint8_t *block = copy(&file, sizeof(file));
    struct elf_image image;
    struct message why;
    assert_true(elf_check(block, sizeof(file), 4, &image, &why));
    assert_int_equal(image.note_flags, 0);
    free(block);
}

static void header_of_another_kind_is_refused(void **state) {
    (void)state;
    struct kernel_file file = sample();
    file.header.ident[0] = 'M';
    assert_refused(&file, "not an ELF file: bad magic");
    file = sample();
    file.header.ident[4] = 1;
    assert_refused(&file, "not a 64-bit little-endian ELF file");
    file = sample();
    file.header.ident[5] = 2;
    assert_refused(&file, "not a 64-bit little-endian ELF file");
    file = sample();
    file.header.machine = 183;
    assert_refused(&file, "e_machine is 183, not x86-64 (62)");
    file = sample();
    file.header.type = 3;
    assert_refused(&file, "e_type is 3: not a statically linked executable (2)");
    file = sample();
    file.header.phentsize = 32;
    assert_refused(&file, "e_phentsize is not 56");
}

static void program_headers_outside_the_file_are_refused(void **state) {
    (void)state;
    static const char expected[] = "ELF file is truncated: the program headers lie past its end";
    static const uint64_t offsets[] = {sizeof(struct kernel_file) - 4 * 56 + 1,
                                       sizeof(struct kernel_file) + 1, UINT64_MAX,
                                       UINT64_MAX - 223};
    for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
        struct kernel_file file = sample();
        file.header.phoff = offsets[i];
        assert_refused(&file, expected);
    }
    struct kernel_file file = sample();
    file.header.phnum = 0xffff;
    assert_refused(&file, expected);
}

static void bad_segment_is_refused_by_its_number(void **state) {
    (void)state;
    struct kernel_file file = sample();
    file.rodata.filesz = file.rodata.memsz + 1;
    assert_refused(&file, "segment 1: p_filesz is larger than p_memsz: 0x21");
    file = sample();
    file.data.offset = sizeof(file) - 7;
    char expected[80];
    snprintf(expected, sizeof(expected), "segment 2: lies outside the file: p_offset 0x%zx",
             sizeof(file) - 7);
    assert_refused(&file, expected);
    file.data.offset = UINT64_MAX - 3; /* p_offset + p_filesz would wrap to 4 */
    assert_refused(&file, "segment 2: lies outside the file: p_offset 0xfffffffffffffffc");
    file.data.offset = 8;
    file.data.filesz = file.data.memsz = UINT64_MAX - 3;
    assert_refused(&file, "segment 2: lies outside the file: p_offset 0x8");
    file = sample();
    file.data.memsz = UINT64_MAX - 5;
    assert_refused(&file, "segment 2: p_vaddr + p_memsz overflows: p_memsz 0xfffffffffffffffa");
    file = sample();
    file.data.vaddr = UINT64_C(0x0000800000000000);
    assert_refused(&file, "segment 2: is not canonical: p_vaddr 0x800000000000");
    file = sample();
    file.data.vaddr = UINT64_C(0x00007ffffffff000); /* runs into the hole */
    assert_refused(&file, "segment 2: is not canonical: p_vaddr 0x7ffffffff000");
    file.data.memsz = UINT64_C(0xffff000000003000); /* and out of it again */
    assert_refused(&file, "segment 2: is not canonical: p_vaddr 0x7ffffffff000");
    file = sample();
    file.text.flags |= SEGMENT_WRITE;
    assert_refused(&file, "segment 0: is both writable and executable: p_vaddr 0xffffffff80000000");
}

static void canonical_depends_on_the_number_of_levels(void **state) {
    (void)state;
    struct kernel_file file = sample();
    uint64_t virt = UINT64_C(0xff80000000000000);
    file.text.vaddr = virt;
    file.rodata.vaddr = virt + 0x1000;
    file.data.vaddr = virt + 0x3000;
    file.header.entry = virt;
    assert_refused_at(&file, 4, "segment 0: is not canonical: p_vaddr 0xff80000000000000");
    uint8_t *block = copy(&file, sizeof(file));
    struct elf_image image;
    struct message why;
    assert_true(elf_check(block, sizeof(file), 5, &image, &why));
    assert_image_is_sound(&image, 5);
    free(block);
}

static void segments_that_meet_are_refused_unless_their_rights_are_equal(void **state) {
    (void)state;
    struct kernel_file file = sample();
    file.rodata.vaddr = TEXT_VIRT + 0x20;
    assert_refused(&file, "segments overlap: one ends at 0xffffffff8000003f, the next begins at "
                          "0xffffffff80000020");
    file.rodata.vaddr = TEXT_VIRT + 0x40;
    assert_refused(&file, "segments with different rights share a page: one ends at "
                          "0xffffffff8000003f, the next begins at 0xffffffff80000040");
    file.rodata.flags = file.text.flags;
    uint8_t *block = copy(&file, sizeof(file));
    struct elf_image image;
    struct message why;
    assert_true(elf_check(block, sizeof(file), 4, &image, &why));
    free(block);
}

static void entry_must_lie_in_the_filled_part_of_executable_code(void **state) {
    (void)state;
    static const uint64_t entries[] = {0, TEXT_VIRT - 1, TEXT_VIRT + 64, RODATA_VIRT, DATA_VIRT};
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
        struct kernel_file file = sample();
        file.header.entry = entries[i];
        char expected[100];
        snprintf(expected, sizeof(expected),
                 "the entry point lies in no executable segment: e_entry 0x%llx",
                 (unsigned long long)entries[i]);
        assert_refused(&file, expected);
    }
}

static void kernel_of_more_than_a_gibibyte_is_refused(void **state) {
    (void)state;
    struct kernel_file file = sample();
    file.data.vaddr = TEXT_VIRT + ELF_MAX_SPAN_BYTES - 0x3000;
    file.data.memsz = 0x3001;
    assert_refused(&file, "the segments span more than 1 GiB: from 0xffffffff80000000");
    file.data.memsz = 0x3000;
    uint8_t *block = copy(&file, sizeof(file));
    struct elf_image image;
    struct message why;
    assert_true(elf_check(block, sizeof(file), 4, &image, &why));
    free(block);
}

static void file_without_anything_to_load_is_refused(void **state) {
    (void)state;
    struct kernel_file file = sample();
    file.header.phnum = 0;
    assert_refused(&file, "no PT_LOAD segment: nothing to load");
    file = sample();
    file.text.type = file.rodata.type = file.data.type = 0;
    assert_refused(&file, "no PT_LOAD segment: nothing to load");
    file = sample();
    file.text.memsz = file.rodata.memsz = file.data.memsz = 0;
    assert_refused(&file, "no PT_LOAD segment: nothing to load");
}

static void ninth_segment_is_refused(void **state) {
    (void)state;
    struct {
        struct kernel_file file;
        struct elf64_segment more[9];
    } many = {.file = sample()};
    many.file.header.phoff = offsetof(__typeof__(many), more);
    many.more[0] = many.file.text;
    for (unsigned i = 1; i < 9; i++) {
        many.more[i] = segment(SEGMENT_READ, TEXT_VIRT + i * PAGE_BYTES, 0, 1, 1);
    }
    struct elf_image image;
    struct message why;
    many.file.header.phnum = 8;
    assert_true(elf_check(&many, sizeof(many), 4, &image, &why));
    assert_int_equal(image.segment_count, HANDOFF_MAX_SEGMENTS);
    many.file.header.phnum = 9;
    assert_false(elf_check(&many, sizeof(many), 4, &image, &why));
    assert_string_equal(why.text, "more than 8 PT_LOAD segments");
}

static void every_truncation_is_refused(void **state) {
    (void)state;
    struct kernel_file file = sample();
    for (size_t bytes = 0; bytes < sizeof(file); bytes++) {
        uint8_t *block = copy(&file, bytes);
        struct elf_image image;
        struct message why;
        assert_false(elf_check(block, bytes, 4, &image, &why));
        assert_true(strstr(why.text, bytes < sizeof(file.text) + sizeof(file.header)
                                         ? "truncated"
                                         : "file") != NULL);
        free(block);
    }
}

static void every_damaged_byte_is_refused_or_leaves_a_sound_image(void **state) {
    (void)state;
    struct kernel_file file = sample();
    size_t headers = offsetof(struct kernel_file, code);
    unsigned accepted = 0;
    for (size_t at = 0; at < headers; at++) {
        for (unsigned flip = 1; flip < 256; flip++) {
            struct kernel_file damaged = file;
            ((uint8_t *)&damaged)[at] ^= (uint8_t)flip;
            uint8_t *block = copy(&damaged, sizeof(damaged));
            unsigned levels = 4 + flip % 2;
            struct elf_image image;
            struct message why;
            if (elf_check(block, sizeof(damaged), levels, &image, &why)) {
                assert_image_is_sound(&image, levels);
                accepted++;
            } else {
                assert_true(why.length > 0);
            }
            free(block);
        }
    }
    assert_true(accepted > 0);
}

static void random_headers_are_refused_or_leave_a_sound_image(void **state) {
    (void)state;
    uint64_t seed = 0xe1f;
    for (unsigned round = 0; round < 20000; round++) {
        struct kernel_file file = sample();
        struct elf64_segment *const segments[] = {&file.text, &file.rodata, &file.data,
                                                  &file.notes};
        for (unsigned hits = 0; hits < 3; hits++) {
            uint64_t random = fake_random(&seed);
            uint64_t value = fake_random(&seed) >> (random >> 58);
            uint64_t *fields = &segments[random % 4]->offset; /* offset .. align: six of 64 bits */
            memcpy((uint8_t *)fields + random / 4 % 6 * 8, &value, sizeof(value));
        }
        uint8_t *block = copy(&file, sizeof(file));
        struct elf_image image;
        struct message why;
        if (elf_check(block, sizeof(file), 4, &image, &why)) {
            assert_image_is_sound(&image, 4);
        }
        free(block);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_file_gives_segments_by_address_entry_notes_and_build_id),
        cmocka_unit_test(access_name_is_terminated_whatever_the_file_says),
        cmocka_unit_test(malformed_notes_are_no_reason_to_refuse_a_kernel),
        cmocka_unit_test(header_of_another_kind_is_refused),
        cmocka_unit_test(program_headers_outside_the_file_are_refused),
        cmocka_unit_test(bad_segment_is_refused_by_its_number),
        cmocka_unit_test(canonical_depends_on_the_number_of_levels),
        cmocka_unit_test(segments_that_meet_are_refused_unless_their_rights_are_equal),
        cmocka_unit_test(entry_must_lie_in_the_filled_part_of_executable_code),
        cmocka_unit_test(kernel_of_more_than_a_gibibyte_is_refused),
        cmocka_unit_test(file_without_anything_to_load_is_refused),
        cmocka_unit_test(ninth_segment_is_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_damaged_byte_is_refused_or_leaves_a_sound_image),
        cmocka_unit_test(random_headers_are_refused_or_leave_a_sound_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
