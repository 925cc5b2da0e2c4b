/** The firmware's memory map: what counts as memory, and the `mmap` records. */
#include "support/cmocka_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory_map.h"
#include "support/fake_memory.h"
#include "support/recording_sink.h"

#define STRIDE 48u /* larger than the structure, as EDK2 has it */
#define MAX_DESCRIPTORS 2000u

/* UEFI specification, table 7.10. */
enum { RESERVED = 0, LOADER_DATA = 2, CONVENTIONAL = 7, UNUSABLE = 8, ACPI = 9, MMIO = 11 };
enum { MMIO_PORTS = 12, UNACCEPTED = 15 };

struct fixture {
    struct trace trace;
    struct recording_sink *recording;
    uint8_t *bytes;
    struct memory_map map;
};

static int set_up(void **state) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    fixture->recording = recording_sink_new();
    fixture->bytes = malloc((size_t)MAX_DESCRIPTORS * STRIDE);
    assert_non_null(fixture->bytes);
    memset(fixture->bytes, 0xee, (size_t)MAX_DESCRIPTORS * STRIDE);
    fixture->map = (struct memory_map){.descriptors = fixture->bytes, .descriptor_bytes = STRIDE};
    trace_init(&fixture->trace);
    assert_true(trace_add_sink(&fixture->trace, &fixture->recording->sink));
    *state = fixture;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *fixture = *state;
    free(fixture->recording);
    free(fixture->bytes);
    free(fixture);
    return 0;
}

static void add(struct fixture *fixture, uint32_t type, uint64_t phys, uint64_t pages,
                uint64_t attributes) {
    const struct memory_descriptor descriptor = {
        .type = type, .phys = phys, .pages = pages, .attributes = attributes};
    memcpy(fixture->bytes + fixture->map.bytes, &descriptor, sizeof(descriptor));
    fixture->map.bytes += STRIDE;
}

static void stride_is_the_maps_and_not_the_structures(void **state) {
    struct fixture *fixture = *state;
    assert_int_equal(memory_map_count(&fixture->map), 0);
    add(fixture, CONVENTIONAL, 0x1000, 2, 0xf);
    add(fixture, ACPI, 0x8000, 3, 0x7);
    assert_int_equal(memory_map_count(&fixture->map), 2);
    struct memory_descriptor second = memory_map_at(&fixture->map, 1);
    assert_int_equal(second.type, ACPI);
    assert_int_equal(second.phys, 0x8000);
    assert_int_equal(second.pages, 3);
    assert_int_equal(second.attributes, 7);
}

static void memory_is_what_can_be_read_without_side_effects(void **state) {
    struct fixture *fixture = *state;
    for (uint32_t type = 0; type <= 20; type++) {
        fixture->map.bytes = 0;
        add(fixture, type, 0x4000, 1, 0);
        bool expected = type != RESERVED && type != UNUSABLE && type != MMIO &&
                        type != MMIO_PORTS && type != UNACCEPTED;
        assert_true(memory_map_is_ram(&fixture->map, 0x4000) == expected);
        assert_int_equal(memory_map_end(&fixture->map), expected ? 0x5000 : 0);
    }
}

static void range_ends_with_its_last_byte_and_gaps_are_no_memory(void **state) {
    struct fixture *fixture = *state;
    add(fixture, CONVENTIONAL, 0x100000, 2, 0);
    add(fixture, MMIO, UINT64_C(0xfe000000), 16, 0);
    add(fixture, LOADER_DATA, 0x200000, 1, 0);
    assert_false(memory_map_is_ram(&fixture->map, 0xff000));
    assert_false(memory_map_is_ram(&fixture->map, 0xfffff));
    assert_true(memory_map_is_ram(&fixture->map, 0x100000));
    assert_true(memory_map_is_ram(&fixture->map, 0x101fff));
    assert_false(memory_map_is_ram(&fixture->map, 0x102000));
    assert_true(memory_map_is_ram(&fixture->map, 0x200000));
    assert_false(memory_map_is_ram(&fixture->map, UINT64_C(0xfe000000)));
    assert_int_equal(memory_map_end(&fixture->map), 0x201000);
}

static void item_leaves_out_what_follows_from_the_item_before(void **state) {
    struct fixture *fixture = *state;
    add(fixture, CONVENTIONAL, 0, 0xa0, 0xf);
    add(fixture, LOADER_DATA, 0xa0000, 0x60, 0xf);
    add(fixture, CONVENTIONAL, 0x200000, 0x10, 0xf);
    add(fixture, ACPI, 0x210000, 1, UINT64_C(0x800000000000000f));
    memory_map_trace(&fixture->map, &fixture->trace);
    assert_int_equal(recording_sink_records(fixture->recording), 1);
    assert_string_equal(recording_sink_body(fixture->recording, 0),
                        "@c3s1 0 mmap index=0 total=4 size=30 "
                        "d=0:a0:7:f,:60:2:,200:10:7:,:1:9:800000000000000f");
}

static void map_without_descriptors_gives_no_record(void **state) {
    struct fixture *fixture = *state;
    memory_map_trace(&fixture->map, &fixture->trace);
    assert_int_equal(recording_sink_records(fixture->recording), 0);
}

/* Reads the records back as docs/trace-format.md has it and compares with the map. */
static void assert_records_tell_the_map(struct fixture *fixture) {
    size_t count = memory_map_count(&fixture->map);
    size_t told = 0;
    size_t records = recording_sink_records(fixture->recording);
    for (size_t i = 0; i < records; i++) {
        const char *body = recording_sink_body(fixture->recording, i);
        char *item = strstr(body, " d=");
        assert_non_null(item);
        size_t index = strtoull(strstr(body, "index=") + 6, NULL, 16);
        assert_int_equal(index, told);
        assert_int_equal(strtoull(strstr(body, "total=") + 6, NULL, 16), count);
        uint64_t next = 0;
        uint64_t attributes = 0;
        for (item += 3; *item != '\0'; told++) {
            struct memory_descriptor expected = memory_map_at(&fixture->map, told);
            assert_true(told != index || *item != ':');
            uint64_t phys = *item == ':' ? next : strtoull(item, &item, 16) << 12;
            uint64_t pages = strtoull(item + 1, &item, 16);
            uint64_t type = strtoull(item + 1, &item, 16);
            item++;
            if (*item != ',' && *item != '\0') {
                attributes = strtoull(item, &item, 16);
            }
            assert_int_equal(phys, expected.phys);
            assert_int_equal(pages, expected.pages);
            assert_int_equal(type, expected.type);
            assert_int_equal(attributes, expected.attributes);
            next = phys + (pages << 12);
            item += *item == ',';
        }
    }
    assert_int_equal(told, count);
}

static void map_of_many_descriptors_goes_over_several_records(void **state) {
    struct fixture *fixture = *state;
    uint64_t seed = 0x3a9;
    uint64_t phys = 0;
    for (unsigned i = 0; i < MAX_DESCRIPTORS; i++) {
        uint64_t random = fake_random(&seed);
        phys += random % 4 == 0 ? random >> 40 << 12 : 0;
        uint64_t pages = 1 + (random >> 16) % 0x8000;
        add(fixture, random >> 60 & 15, phys, pages, random % 3 == 0 ? random : 0xf);
        phys += pages << 12;
    }
    memory_map_trace(&fixture->map, &fixture->trace);
    assert_true(recording_sink_records(fixture->recording) > 10);
    assert_records_tell_the_map(fixture);
}

static void largest_numbers_fit_an_item(void **state) {
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < 20; i++) {
        add(fixture, UINT32_MAX, (UINT64_MAX - i) & ~UINT64_C(0xfff), UINT64_MAX >> 12,
            UINT64_MAX - i);
    }
    memory_map_trace(&fixture->map, &fixture->trace);
    assert_records_tell_the_map(fixture);
}

static void stride_shorter_than_a_descriptor_leaves_no_descriptor(void **state) {
    struct fixture *fixture = *state;
    add(fixture, CONVENTIONAL, 0x1000, 2, 0xf);
    for (size_t stride = 0; stride < sizeof(struct memory_descriptor); stride++) {
        fixture->map.descriptor_bytes = stride;
        assert_int_equal(memory_map_count(&fixture->map), 0);
        assert_int_equal(memory_map_end(&fixture->map), 0);
        assert_false(memory_map_is_ram(&fixture->map, 0x1000));
        memory_map_trace(&fixture->map, &fixture->trace);
    }
    assert_int_equal(fixture->recording->used, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define MAP_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        MAP_TEST(stride_is_the_maps_and_not_the_structures),
        MAP_TEST(memory_is_what_can_be_read_without_side_effects),
        MAP_TEST(range_ends_with_its_last_byte_and_gaps_are_no_memory),
        MAP_TEST(item_leaves_out_what_follows_from_the_item_before),
        MAP_TEST(map_without_descriptors_gives_no_record),
        MAP_TEST(map_of_many_descriptors_goes_over_several_records),
        MAP_TEST(largest_numbers_fit_an_item),
        MAP_TEST(stride_shorter_than_a_descriptor_leaves_no_descriptor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
