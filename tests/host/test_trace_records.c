/** Records: grammar, escapes, checksums, sequence, position (docs/trace-format.md, "A record"). */
#include "support/cmocka_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/recording_sink.h"
#include "trace/crc32.h"
#include "trace/trace.h"

struct fixture {
    struct trace trace;
    struct recording_sink *recording;
};

static int set_up(void **state) {
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    fixture->recording = recording_sink_new();
    trace_init(&fixture->trace);
    assert_true(trace_add_sink(&fixture->trace, &fixture->recording->sink));
    *state = fixture;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *fixture = *state;
    free(fixture->recording);
    free(fixture);
    return 0;
}

static void crc_equals_the_published_check_value(void **state) {
    (void)state;
    assert_int_equal(crc32_update(0, "123456789", 9), 0xcbf43926u);
    assert_int_equal(crc32_update(crc32_update(0, "1234", 4), "56789", 5), 0xcbf43926u);
    assert_int_equal(crc32_update(0, "", 0), 0);
}

static void record_has_sentinel_sequence_kind_fields_and_checksum(void **state) {
    struct fixture *fixture = *state;
    trace_open(&fixture->trace, "map");
    trace_text(&fixture->trace, "name", "kernel.text");
    trace_hex(&fixture->trace, "virt", UINT64_C(0xffffffff80000000));
    trace_hex(&fixture->trace, "zero", 0);
    trace_hex(&fixture->trace, "one", 0x10);
    trace_close(&fixture->trace);

    const char body[] = "@c3s1 0 map name=kernel.text virt=ffffffff80000000 zero=0 one=10 ";
    char line[sizeof(body) + 16];
    snprintf(line, sizeof(line), "%s#%08x\n", body, crc32_update(0, body, strlen(body)));
    assert_string_equal(fixture->recording->bytes, line);
}

static void text_escapes_everything_that_could_end_a_field_or_start_a_record(void **state) {
    struct fixture *fixture = *state;
    trace_open(&fixture->trace, "check");
    trace_text(&fixture->trace, "a", "%#@=, \x1b[0m\x7f\xff\n~!");
    trace_text(&fixture->trace, "b", NULL);
    trace_text(&fixture->trace, "c", "");
    trace_close(&fixture->trace);
    assert_string_equal(recording_sink_body(fixture->recording, 0),
                        "@c3s1 0 check a=%25%23%40%3d%2c%20%1b[0m%7f%ff%0a~! b= c=");
}

static void data_is_base64_with_padding(void **state) {
    struct fixture *fixture = *state;
    trace_open(&fixture->trace, "d");
    trace_data(&fixture->trace, "a", "foobar", 6);
    trace_data(&fixture->trace, "b", "fooba\xff", 5); /* the byte behind must not show */
    trace_data(&fixture->trace, "c", "foob\xff\xff", 4);
    trace_data(&fixture->trace, "e", "\xff\xfe\xfd", 3);
    trace_data(&fixture->trace, "f", "", 0);
    trace_close(&fixture->trace);
    assert_string_equal(recording_sink_body(fixture->recording, 0),
                        "@c3s1 0 d a=Zm9vYmFy b=Zm9vYmE= c=Zm9vYg== e=//79 f=");
}

static void list_joins_its_items_by_commas_and_escapes_those_inside(void **state) {
    struct fixture *fixture = *state;
    trace_open(&fixture->trace, "mmap");
    trace_list(&fixture->trace, "d");
    assert_true(trace_item(&fixture->trace, "0:a0:7:f"));
    assert_true(trace_item(&fixture->trace, ":60:0:"));
    assert_true(trace_item(&fixture->trace, "a,b"));
    trace_list(&fixture->trace, "none");
    trace_hex(&fixture->trace, "n", 1);
    assert_false(trace_item(&fixture->trace, "after another field"));
    trace_close(&fixture->trace);
    assert_string_equal(recording_sink_body(fixture->recording, 0),
                        "@c3s1 0 mmap d=0:a0:7:f,:60:0:,a%2cb none= n=1");
}

static void list_item_that_does_not_fit_leaves_the_list_as_it_was(void **state) {
    struct fixture *fixture = *state;
    char item[101];
    memset(item, 'x', sizeof(item) - 1);
    item[sizeof(item) - 1] = '\0';
    trace_open(&fixture->trace, "mmap");
    trace_list(&fixture->trace, "d");
    size_t fitted = 0;
    while (trace_item(&fixture->trace, item)) {
        fitted++;
    }
    trace_close(&fixture->trace);
    assert_int_equal(fitted, 4);
    assert_true(fixture->recording->used <= TRACE_LINE_BYTES);
    assert_int_equal(strlen(recording_sink_body(fixture->recording, 0)),
                     strlen("@c3s1 0 mmap d=") + 4 * 100 + 3);
}

static void record_never_exceeds_512_bytes_whatever_the_field(void **state) {
    struct fixture *fixture = *state;
    char text[600];
    for (size_t length = 0; length < sizeof(text); length++) {
        fixture->recording->used = 0;
        fixture->recording->bytes[0] = '\0';
        memset(text, length % 2 ? 'x' : '@', length);
        text[length] = '\0';
        trace_open(&fixture->trace, "error");
        trace_text(&fixture->trace, "where", text);
        bool dropped = fixture->trace.overflow;
        trace_hex(&fixture->trace, "n", 5);
        trace_close(&fixture->trace);
        size_t used = fixture->recording->used;
        assert_true(used <= TRACE_LINE_BYTES);
        assert_int_equal(fixture->recording->bytes[used - 1], '\n');
        bool present = strstr(fixture->recording->bytes, "where=") != NULL;
        assert_true(present != dropped);
    }
}

static void record_of_512_bytes_is_used_to_the_last(void **state) {
    struct fixture *fixture = *state;
    char text[TRACE_LINE_BYTES];
    size_t length = TRACE_LINE_BYTES - 11 - strlen("@c3s1 0 error where=");
    memset(text, 'x', length);
    text[length] = '\0';
    trace_open(&fixture->trace, "error");
    trace_text(&fixture->trace, "where", text);
    trace_close(&fixture->trace);
    assert_false(fixture->trace.overflow);
    assert_int_equal(fixture->recording->used, TRACE_LINE_BYTES);
}

static void field_that_does_not_fit_is_left_out_and_the_next_one_kept(void **state) {
    struct fixture *fixture = *state;
    char text[TRACE_LINE_BYTES];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    trace_open(&fixture->trace, "error");
    trace_text(&fixture->trace, "where", "here");
    trace_text(&fixture->trace, "what", text);
    trace_data(&fixture->trace, "data", text, 400);
    trace_hex(&fixture->trace, "status", 7);
    trace_close(&fixture->trace);
    assert_true(fixture->trace.overflow);
    assert_string_equal(recording_sink_body(fixture->recording, 0),
                        "@c3s1 0 error where=here status=7");
}

static void data_room_is_exactly_what_fits(void **state) {
    struct fixture *fixture = *state;
    const uint8_t bytes[TRACE_LINE_BYTES] = {0};
    trace_open(&fixture->trace, "d");
    trace_hex(&fixture->trace, "o", 0x1234);
    size_t room = trace_data_room(&fixture->trace, "b");
    assert_true(room > 340);
    trace_data(&fixture->trace, "b", bytes, room + 1);
    assert_true(fixture->trace.overflow);
    fixture->trace.overflow = false;
    trace_data(&fixture->trace, "b", bytes, room);
    assert_false(fixture->trace.overflow);
    trace_close(&fixture->trace);
    assert_true(fixture->recording->used <= TRACE_LINE_BYTES);
    assert_true(fixture->recording->used > TRACE_LINE_BYTES - 4);
}

static void record_that_was_interrupted_leaves_no_trace_and_no_gap(void **state) {
    struct fixture *fixture = *state;
    trace_open(&fixture->trace, "map");
    trace_hex(&fixture->trace, "virt", 1);
    trace_open(&fixture->trace, "fault");
    trace_close(&fixture->trace);
    assert_string_equal(recording_sink_body(fixture->recording, 0), "@c3s1 0 fault");
    assert_int_equal(fixture->trace.position.sequence, 1);
}

static void end_carries_the_totals_of_all_records_before_it(void **state) {
    struct fixture *fixture = *state;
    fixture->trace.position.sequence = 77;
    trace_begin(&fixture->trace, "loader", "1.0");
    trace_error(&fixture->trace, "initrd", "truncated", 0);
    trace_error(&fixture->trace, "initrd", "truncated", 0x8e);
    size_t before = fixture->recording->used;
    uint32_t crc = crc32_update(0, fixture->recording->bytes, before);
    trace_end(&fixture->trace, "loader", "kernel");

    char expected[TRACE_LINE_BYTES];
    snprintf(expected, sizeof(expected),
             "@c3s1 3 end producer=loader records=3 bytes=%zx crc=%x next=kernel", before, crc);
    assert_string_equal(recording_sink_body(fixture->recording, 0),
                        "@c3s1 0 begin producer=loader version=1.0");
    assert_string_equal(recording_sink_body(fixture->recording, 1),
                        "@c3s1 1 error where=initrd what=truncated");
    assert_string_equal(recording_sink_body(fixture->recording, 2),
                        "@c3s1 2 error where=initrd what=truncated status=8e");
    assert_string_equal(recording_sink_body(fixture->recording, 3), expected);
}

static void error_of_any_length_tells_where_what_and_status(void **state) {
    struct fixture *fixture = *state;
    char where[700], what[700];
    for (size_t length = 0; length < sizeof(what); length += 7) {
        fixture->recording->used = 0;
        fixture->recording->bytes[0] = '\0';
        memset(where, length % 2 ? 'x' : '@', length);
        memset(what, length % 3 ? 'y' : '=', length);
        where[length] = what[length] = '\0';
        trace_error(&fixture->trace, where, what, UINT64_MAX);
        assert_false(fixture->trace.overflow);
        assert_true(fixture->recording->used <= TRACE_LINE_BYTES);
        const char *body = recording_sink_body(fixture->recording, 0);
        assert_non_null(strstr(body, " where="));
        assert_non_null(strstr(body, " what="));
        assert_non_null(strstr(body, " status=ffffffffffffffff"));
        assert_true(length < 400 || strstr(body, "... what=") != NULL);
        assert_true(length < 200 || strstr(body, "... status=") != NULL || length < 300);
    }
}

static void resumed_trace_goes_on_with_sequence_bytes_and_checksum(void **state) {
    struct fixture *fixture = *state;
    trace_begin(&fixture->trace, "loader", "1.0");
    trace_end(&fixture->trace, "loader", "kernel");
    const struct trace_position handed_over = fixture->trace.position;

    struct trace kernel;
    trace_resume(&kernel, &handed_over);
    assert_true(trace_add_sink(&kernel, &fixture->recording->sink));
    trace_section(&kernel, "kernel");
    size_t before = fixture->recording->used;
    uint32_t crc = crc32_update(0, fixture->recording->bytes, before);
    trace_end(&kernel, "kernel", "none");

    char expected[TRACE_LINE_BYTES];
    snprintf(expected, sizeof(expected),
             "@c3s1 3 end producer=kernel records=3 bytes=%zx crc=%x next=none", before, crc);
    assert_string_equal(recording_sink_body(fixture->recording, 2),
                        "@c3s1 2 section producer=kernel");
    assert_string_equal(recording_sink_body(fixture->recording, 3), expected);
}

static void closed_sink_gets_a_close_record_and_the_others_notice_nothing(void **state) {
    struct fixture *fixture = *state;
    struct recording_sink *file = recording_sink_new();
    file->sink.name = "file";
    assert_true(trace_add_sink(&fixture->trace, &file->sink));
    trace_begin(&fixture->trace, "loader", "1.0");
    trace_close_sink(&fixture->trace, &file->sink);
    trace_error(&fixture->trace, "exit", "late", 1);
    trace_close_sink(&fixture->trace, &file->sink);

    assert_int_equal(recording_sink_records(file), 2);
    assert_string_equal(recording_sink_body(file, 1), "@c3s1 1 close sink=file");
    assert_int_equal(recording_sink_records(fixture->recording), 2);
    assert_string_equal(recording_sink_body(fixture->recording, 1),
                        "@c3s1 1 error where=exit what=late status=1");
    assert_int_equal(fixture->trace.position.bytes, fixture->recording->used);
    free(file);
}

static void every_sink_gets_every_record_and_the_fifth_sink_is_refused(void **state) {
    struct fixture *fixture = *state;
    struct recording_sink *more[TRACE_MAX_SINKS];
    for (size_t i = 0; i < TRACE_MAX_SINKS; i++) {
        more[i] = recording_sink_new();
        bool added = trace_add_sink(&fixture->trace, &more[i]->sink);
        assert_true(added == (i + 1 < TRACE_MAX_SINKS));
    }
    trace_begin(&fixture->trace, "loader", "1.0");
    for (size_t i = 0; i < TRACE_MAX_SINKS; i++) {
        const char *expected = i + 1 < TRACE_MAX_SINKS ? fixture->recording->bytes : "";
        assert_string_equal(more[i]->bytes, expected);
        free(more[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define RECORD_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        cmocka_unit_test(crc_equals_the_published_check_value),
        RECORD_TEST(record_has_sentinel_sequence_kind_fields_and_checksum),
        RECORD_TEST(text_escapes_everything_that_could_end_a_field_or_start_a_record),
        RECORD_TEST(data_is_base64_with_padding),
        RECORD_TEST(list_joins_its_items_by_commas_and_escapes_those_inside),
        RECORD_TEST(list_item_that_does_not_fit_leaves_the_list_as_it_was),
        RECORD_TEST(record_never_exceeds_512_bytes_whatever_the_field),
        RECORD_TEST(record_of_512_bytes_is_used_to_the_last),
        RECORD_TEST(field_that_does_not_fit_is_left_out_and_the_next_one_kept),
        RECORD_TEST(data_room_is_exactly_what_fits),
        RECORD_TEST(record_that_was_interrupted_leaves_no_trace_and_no_gap),
        RECORD_TEST(end_carries_the_totals_of_all_records_before_it),
        RECORD_TEST(error_of_any_length_tells_where_what_and_status),
        RECORD_TEST(resumed_trace_goes_on_with_sequence_bytes_and_checksum),
        RECORD_TEST(closed_sink_gets_a_close_record_and_the_others_notice_nothing),
        RECORD_TEST(every_sink_gets_every_record_and_the_fifth_sink_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
