/**
 * The page-table dump: what it costs and how it ends. It also leaves each sample as NAME.trace (the
 * records) and NAME.pages (each page: its address, then its 4096 bytes), and each piece of memory
 * as NAME.trace and NAME.bytes, in the folder that TRACE_SAMPLES names: test_dump_roundtrip.py
 * decodes them on its own.
 */
#include "support/cmocka_test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "support/fake_memory.h"
#include "support/recording_sink.h"
#include "support/table_samples.h"
#include "trace/dump.h"

#define PAIRS 8192u
#define RANDOM_GRAPHS 24u

static uint64_t scratch[DUMP_SCRATCH_WORDS(PAIRS)];

static void save(const char *name, const char *suffix, const void *bytes, size_t count,
                 const char *mode) {
    const char *folder = getenv("TRACE_SAMPLES");
    if (folder == NULL || folder[0] == '\0') {
        return;
    }
    char path[4096];
    assert_true(mkdir(folder, 0777) == 0 || errno == EEXIST);
    snprintf(path, sizeof(path), "%s/%s.%s", folder, name, suffix);
    FILE *file = fopen(path, mode);
    if (file == NULL) {
        fail_msg("%s: %s", path, strerror(errno));
        return;
    }
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
}

static void save_pages(const char *name, const struct fake_memory *memory) {
    save(name, "pages", "", 0, "wb");
    for (size_t i = 0; i < memory->count; i++) {
        save(name, "pages", &memory->pages[i], sizeof(memory->pages[i]), "ab");
    }
}

/* Dumps between a `begin` and an `end`; returns the bytes on the wire. */
static size_t dump_and_save(const char *name, unsigned levels, uint64_t cr3,
                            struct fake_memory *memory, enum dump_status *status_ret) {
    struct recording_sink *recording = recording_sink_new();
    struct trace trace;
    trace_init(&trace);
    assert_true(trace_add_sink(&trace, &recording->sink));
    trace_begin(&trace, "test", "1");
    size_t before = recording->used;
    *status_ret = dump_write(&trace, "new", cr3, levels, &memory->physical, scratch,
                             sizeof(scratch) / sizeof(scratch[0]));
    size_t wire = recording->used - before;
    trace_end(&trace, "test", "none");
    save(name, "trace", recording->bytes, recording->used, "wb");
    save_pages(name, memory);
    free(recording);
    return wire;
}

static void every_sample_is_dumped_whole(void **state) {
    (void)state;
    for (size_t i = 0; i < table_sample_count; i++) {
        const struct table_sample *sample = &table_samples[i];
        struct fake_memory *memory = fake_memory_new();
        enum dump_status status = DUMP_SCRATCH_FULL;
        uint64_t cr3 = sample->build(memory);
        size_t wire = dump_and_save(sample->name, sample->levels, cr3, memory, &status);
        printf("%-26s %4zu tables %8zu bytes on the wire\n", sample->name, memory->count, wire);
        bool unreadable =
            strncmp(sample->name, "unreadable", 10) == 0 || strcmp(sample->name, "every-bit") == 0;
        assert_int_equal(status, unreadable ? DUMP_UNREADABLE : DUMP_OK);
        fake_memory_free(memory);
    }
}

static void random_graphs_are_dumped_whole(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= RANDOM_GRAPHS; seed++) {
        char name[32];
        struct fake_memory *memory = fake_memory_new();
        enum dump_status status = DUMP_SCRATCH_FULL;
        uint64_t cr3 = table_sample_random_graph(memory, seed);
        snprintf(name, sizeof(name), "random-graph-%u", seed);
        dump_and_save(name, seed % 2 == 0 ? 4 : 5, cr3, memory, &status);
        assert_int_not_equal(status, DUMP_SCRATCH_FULL);
        fake_memory_free(memory);
    }
}

static void firmware_tables_cost_less_than_4_kib(void **state) {
    (void)state;
    struct fake_memory *memory = fake_memory_new();
    enum dump_status status = DUMP_SCRATCH_FULL;
    size_t wire = dump_and_save("firmware", 4, table_sample_firmware(memory), memory, &status);
    assert_int_in_range(wire, 1, 4095);
    fake_memory_free(memory);
}

static void incompressible_tables_cost_at_most_one_and_a_half_times_their_bytes(void **state) {
    (void)state;
    struct fake_memory *memory = fake_memory_new();
    enum dump_status status = DUMP_SCRATCH_FULL;
    uint64_t cr3 = table_sample_incompressible(memory);
    size_t wire = dump_and_save("incompressible", 4, cr3, memory, &status);
    size_t raw = memory->count * PAGE_BYTES;
    printf("incompressible: %zu raw bytes, %zu on the wire, factor %.3f\n", raw, wire,
           (double)wire / (double)raw);
    assert_true(2 * wire <= 3 * raw);
    fake_memory_free(memory);
}

static void records_stay_within_512_bytes_when_numbers_are_long(void **state) {
    (void)state;
    struct recording_sink *recording = recording_sink_new();
    struct fake_memory *memory = fake_memory_new();
    const struct trace_position late = {.bytes = 1, .sequence = UINT32_C(0xffffff00)};
    struct trace trace;
    trace_resume(&trace, &late);
    assert_true(trace_add_sink(&trace, &recording->sink));
    uint64_t cr3 = table_sample_incompressible(memory);
    assert_int_equal(dump_write(&trace, "new", cr3, 4, &memory->physical, scratch,
                                sizeof(scratch) / sizeof(scratch[0])),
                     DUMP_OK);
    for (char *line = recording->bytes; *line != '\0'; line = strchr(line, '\n') + 1) {
        assert_int_in_range(strchr(line, '\n') + 1 - line, 1, TRACE_LINE_BYTES);
    }
    fake_memory_free(memory);
    free(recording);
}

static void too_little_scratch_gives_an_error_record_and_no_dump_end(void **state) {
    (void)state;
    const size_t words[] = {0, 1, DUMP_SCRATCH_WORDS(0), DUMP_SCRATCH_WORDS(1),
                            DUMP_SCRATCH_WORDS(203 - 1)};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct recording_sink *recording = recording_sink_new();
        struct fake_memory *memory = fake_memory_new();
        struct trace trace;
        trace_init(&trace);
        assert_true(trace_add_sink(&trace, &recording->sink));
        uint64_t cr3 = 0;
        for (size_t k = 0; k < table_sample_count; k++) {
            if (strcmp(table_samples[k].name, "repeats") == 0) {
                cr3 = table_samples[k].build(memory);
            }
        }
        assert_int_equal(memory->count, 203);
        /* Exactly as many words as allowed: the sanitizer sees one too many. */
        uint64_t *exact = malloc(words[i] * sizeof(*exact) + (words[i] == 0));
        assert_non_null(exact);
        assert_false(dump_fits(cr3, 4, &memory->physical, exact, words[i]));
        assert_int_equal(dump_write(&trace, "new", cr3, 4, &memory->physical, exact, words[i]),
                         DUMP_SCRATCH_FULL);
        assert_null(strstr(recording->bytes, " dump-end "));
        assert_non_null(strstr(recording->bytes, " error where=dump what="));
        free(exact);
        fake_memory_free(memory);
        free(recording);
    }
}

static void scratch_of_exactly_the_promised_words_is_enough(void **state) {
    (void)state;
    struct fake_memory *memory = fake_memory_new();
    struct trace trace;
    trace_init(&trace);
    uint64_t cr3 = table_sample_firmware(memory);
    size_t words = DUMP_SCRATCH_WORDS(memory->count);
    uint64_t *exact = malloc(words * sizeof(*exact));
    assert_non_null(exact);
    assert_true(dump_fits(cr3, 4, &memory->physical, exact, words));
    assert_int_equal(dump_write(&trace, "new", cr3, 4, &memory->physical, exact, words), DUMP_OK);
    free(exact);
    fake_memory_free(memory);
}

static size_t write_memory(const char *name, const void *bytes, size_t count, unsigned planes) {
    struct recording_sink *recording = recording_sink_new();
    struct trace trace;
    trace_init(&trace);
    assert_true(trace_add_sink(&trace, &recording->sink));
    trace_begin(&trace, "test", "1");
    size_t before = recording->used;
    memory_write(&trace, name, "handoff", UINT64_C(0xffffffff80000123), bytes, count, planes);
    size_t wire = recording->used - before;
    trace_end(&trace, "test", "none");
    save(name, "trace", recording->bytes, recording->used, "wb");
    save(name, "bytes", bytes, count, "wb");
    free(recording);
    return wire;
}

static void memory_of_every_length_and_plane_count_is_written(void **state) {
    (void)state;
    uint8_t bytes[100];
    uint64_t seed = 77;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = i < 64 ? (uint8_t)(i % 8) : (uint8_t)fake_random(&seed);
    }
    for (size_t count = 0; count <= sizeof(bytes); count += count < 20 ? 1 : 13) {
        for (unsigned planes = 0; planes <= 3; planes++) {
            char name[32];
            snprintf(name, sizeof(name), "memory-%zu-%u", count, planes);
            /* One byte in: code and tables need not be aligned. */
            uint8_t *exact = malloc(count + 1);
            assert_non_null(exact);
            memcpy(exact + 1, bytes, count);
            write_memory(name, exact + 1, count, planes);
            free(exact);
        }
    }
}

static void memory_of_fewer_words_than_planes_is_written_as_it_is(void **state) {
    (void)state;
    for (size_t count = 1; count <= 16; count++) {
        static const uint8_t zeros[16];
        struct recording_sink *recording = recording_sink_new();
        struct trace trace;
        trace_init(&trace);
        assert_true(trace_add_sink(&trace, &recording->sink));
        memory_write(&trace, "idt", "handoff", 0x1000, zeros, count, 3);
        assert_non_null(strstr(recording->bytes, " words=0 "));
        free(recording);
    }
}

static void idt_with_evenly_spaced_handlers_costs_little(void **state) {
    (void)state;
    uint64_t gates[512];
    for (uint64_t vector = 0; vector < 256; vector++) {
        uint64_t target = UINT64_C(0x7f3a1000) + vector * 16;
        gates[2 * vector] = (target & 0xffff) | UINT64_C(0x38) << 16 | UINT64_C(0x8e) << 40 |
                            (target & 0xffff0000) << 32;
        gates[2 * vector + 1] = target >> 32;
    }
    size_t wire = write_memory("memory-idt", gates, sizeof(gates), 2);
    printf("memory-idt: %zu bytes on the wire\n", wire);
    assert_int_in_range(wire, 1, 300);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sample_is_dumped_whole),
        cmocka_unit_test(random_graphs_are_dumped_whole),
        cmocka_unit_test(firmware_tables_cost_less_than_4_kib),
        cmocka_unit_test(incompressible_tables_cost_at_most_one_and_a_half_times_their_bytes),
        cmocka_unit_test(records_stay_within_512_bytes_when_numbers_are_long),
        cmocka_unit_test(too_little_scratch_gives_an_error_record_and_no_dump_end),
        cmocka_unit_test(scratch_of_exactly_the_promised_words_is_enough),
        cmocka_unit_test(memory_of_every_length_and_plane_count_is_written),
        cmocka_unit_test(memory_of_fewer_words_than_planes_is_written_as_it_is),
        cmocka_unit_test(idt_with_evenly_spaced_handlers_costs_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
