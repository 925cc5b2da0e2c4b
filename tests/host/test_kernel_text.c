/** The kernel's lines of text: conversions, and that nothing is written beyond the end. */
#include "support/cmocka_test.h"

#include <stdio.h>
#include <string.h>

#include "../../kernel/text.h"

static void conversions_print_what_printf_prints(void **state) {
    (void)state;
    char expected[TEXT_BYTES];
    struct text text;
    const unsigned long numbers[] = {0, 9, 10, 0xabcdef, 0xffffffff80000000, ~0ul};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        unsigned low = (unsigned)numbers[i];
        snprintf(expected, sizeof(expected), "%lu %lx %u %x %s%c%%", numbers[i], numbers[i], low,
                 low, "word", 'c');
        text_set(&text, "%lu %lx %u %x %s%c%%", numbers[i], numbers[i], low, low, "word", 'c');
        assert_string_equal(text.bytes, expected);
        assert_int_equal(text.length, strlen(expected));
    }
}

static void adding_goes_on_and_setting_begins_anew(void **state) {
    (void)state;
    struct text text;
    text_init(&text);
    assert_string_equal(text.bytes, "");
    text_add(&text, "one");
    text_add(&text, " %s", "two");
    assert_string_equal(text.bytes, "one two");
    text_set(&text, "three");
    assert_string_equal(text.bytes, "three");
}

static void unknown_conversion_is_copied(void **state) {
    (void)state;
    const char *unknown = "100%d %"; /* a variable, so that the compiler does not object */
    struct text text;
    text_init(&text);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
    text_add(&text, unknown);
#pragma GCC diagnostic pop
    assert_string_equal(text.bytes, "100%d %");
}

static void too_long_text_is_cut_and_terminated(void **state) {
    (void)state;
    struct {
        struct text text;
        char beyond[16];
    } guarded;
    memset(&guarded, 0x5a, sizeof(guarded));
    text_init(&guarded.text);
    for (unsigned i = 0; i < TEXT_BYTES; i++) {
        text_add(&guarded.text, "%s%lx", "abc", ~0ul);
    }
    assert_int_equal(guarded.text.length, TEXT_BYTES - 1);
    assert_int_equal(guarded.text.bytes[TEXT_BYTES - 1], '\0');
    for (size_t i = 0; i < sizeof(guarded.beyond); i++) {
        assert_int_equal(guarded.beyond[i], 0x5a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversions_print_what_printf_prints),
        cmocka_unit_test(adding_goes_on_and_setting_begins_anew),
        cmocka_unit_test(unknown_conversion_is_copied),
        cmocka_unit_test(too_long_text_is_cut_and_terminated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
