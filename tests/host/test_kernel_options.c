/** The kernel's command line. */
#include "support/cmocka_test.h"

#include <stdlib.h>
#include <string.h>

#include "../../kernel/options.h"

static char unknown_words[256];

static void note_unknown(const char *word, size_t length) {
    strncat(unknown_words, word, length);
    strcat(unknown_words, "|");
}

/* From a buffer of exactly `limit` bytes, so that the sanitizer sees a read beyond it. */
static struct options parse(const char *line, size_t limit) {
    struct options options;
    char *buffer = malloc(limit == 0 ? 1 : limit);
    assert_non_null(buffer);
    memcpy(buffer, line, limit);
    unknown_words[0] = '\0';
    options_parse(buffer, limit, note_unknown, &options);
    free(buffer);
    return options;
}

static void empty_line_leaves_the_defaults(void **state) {
    (void)state;
    assert_false(parse("", 1).halt_only);
    assert_false(parse("", 0).halt_only);
    assert_false(parse("   ", 4).halt_only);
    assert_string_equal(unknown_words, "");
}

static void exit_none_is_found_anywhere_in_the_line(void **state) {
    (void)state;
    assert_true(parse("exit=none", 10).halt_only);
    assert_true(parse("  exit=none ", 13).halt_only);
    assert_true(parse("a exit=none b", 14).halt_only);
    assert_string_equal(unknown_words, "a|b|");
}

static void only_the_whole_word_counts(void **state) {
    (void)state;
    assert_false(parse("exit=non", 9).halt_only);
    assert_false(parse("exit=nonesuch", 14).halt_only);
    assert_false(parse("noexit=none", 12).halt_only);
    assert_string_equal(unknown_words, "noexit=none|");
}

static void line_without_its_nul_ends_at_the_limit(void **state) {
    (void)state;
    assert_true(parse("exit=none", 9).halt_only);
    assert_false(parse("exit=none", 8).halt_only);
    assert_string_equal(unknown_words, "exit=non|");
}

static void whose_tss_the_other_cpus_load_is_asked_for(void **state) {
    (void)state;
    assert_int_equal(parse("", 1).sharing, DESCRIPTORS_OWN);
    assert_int_equal(parse("tss=busy", 9).sharing, DESCRIPTORS_SAME_ENTRY);
    assert_int_equal(parse("exit=none tss=copied", 21).sharing, DESCRIPTORS_COPIED);
    assert_string_equal(unknown_words, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_line_leaves_the_defaults),
        cmocka_unit_test(exit_none_is_found_anywhere_in_the_line),
        cmocka_unit_test(only_the_whole_word_counts),
        cmocka_unit_test(line_without_its_nul_ends_at_the_limit),
        cmocka_unit_test(whose_tss_the_other_cpus_load_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
