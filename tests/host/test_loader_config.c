/** cr3scope.cfg: every key, every bad value, and the line that a message names. */
#include "support/cmocka_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"
#include "support/fake_memory.h"

#define WITH_NUL(line)                                                                             \
    "line " #line ": holds a NUL byte, as UTF-16 does: what is read is ASCII or UTF-8"

/* Parses over the defaults, from a block of exactly the text's size. */
static bool parse_bytes(const char *text, size_t bytes, struct config *config_ret,
                        struct message *why) {
    char *block = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(block);
    memcpy(block, text, bytes);
    config_defaults(config_ret);
    bool good = config_parse(config_ret, block, bytes, why);
    free(block);
    return good;
}

static struct config parsed(const char *text) {
    struct config config;
    struct message why = {.length = 0};
    if (!parse_bytes(text, strlen(text), &config, &why)) {
        fail_msg("refused: %s: %s", text, why.text);
    }
    return config;
}

static void assert_refused(const char *text, const char *expected) {
    struct config config;
    struct message why;
    if (parse_bytes(text, strlen(text), &config, &why)) {
        fail_msg("accepted: %s", text);
    }
    assert_string_equal(why.text, expected);
}

static void defaults_are_a_safe_boot_with_a_trace(void **state) {
    (void)state;
    struct config config = parsed("");
    assert_string_equal(config.inject, "");
    assert_string_equal(config.trace_file, CONFIG_DEFAULT_TRACE_FILE);
    assert_string_equal(config.kernel, "");
    assert_false(config.preflight_stops);
    assert_true(config.safe_idt);
    assert_false(config.identity_full);
    assert_false(config.debugger_wait);
    assert_int_equal(config.sinks, CONFIG_SINK_UART | CONFIG_SINK_FILE);
    assert_int_equal(config.uart.base, 0x3f8);
    assert_int_equal(config.serial, CONFIG_SERIAL_AUTO);
    assert_int_equal(config.debugcon_port, DEBUGCON_PORT);
    assert_int_equal(config.fail_allocation, 0);
    assert_int_equal(config.identity_level, 2);
    assert_false(config.breakpoint);
    assert_int_equal(config.flip.level, 0);
}

static void every_key_sets_its_setting(void **state) {
    (void)state;
    assert_string_equal(parsed("inject=a:b,c").inject, "a:b,c");
    assert_true(parsed("preflight=stop").preflight_stops);
    assert_false(parsed("preflight=stop\npreflight=warn").preflight_stops);
    assert_false(parsed("safe_idt=off").safe_idt);
    assert_true(parsed("safe_idt=off\nsafe_idt=on").safe_idt);
    assert_true(parsed("identity=full").identity_full);
    assert_false(parsed("identity=full\nidentity=image").identity_full);
    assert_true(parsed("debugger=wait").debugger_wait);
    assert_false(parsed("debugger=wait\ndebugger=none").debugger_wait);
    assert_int_equal(parsed("sinks=debugcon").sinks, CONFIG_SINK_DEBUGCON);
    assert_int_equal(parsed("sinks=screen").sinks, CONFIG_SINK_SCREEN);
    assert_true(parsed("last=show").last_show);
    assert_false(parsed("last=off").last_show || parsed("").last_show);
    assert_int_equal(parsed("sinks=file,uart,debugcon").sinks,
                     CONFIG_SINK_FILE | CONFIG_SINK_UART | CONFIG_SINK_DEBUGCON);
    assert_int_equal(parsed("uart_port=2f8").uart.base, 0x2f8);
    assert_int_equal(parsed("uart_port=2f8").serial, CONFIG_SERIAL_GIVEN);
    assert_int_equal(parsed("uart_port=FFF8").uart.base, 0xfff8);
    assert_int_equal(parsed("debugcon_port=504").debugcon_port, DEBUGCON_PORT_VIRTUALBOX);
    assert_string_equal(parsed("trace_file=\\x\\y.trc").trace_file, "\\x\\y.trc");
    assert_string_equal(parsed("kernel=exit=vmport, quiet").kernel, "exit=vmport, quiet");
    assert_int_equal(parsed("fail_allocation=1000000").fail_allocation, 1000000);
    assert_int_equal(parsed("identity_pages=4k").identity_level, 1);
    assert_int_equal(parsed("identity_pages=1g").identity_level, 3);
    assert_true(parsed("breakpoint=on").breakpoint);
    struct config_flip flip = parsed("flip=ffffffff80000000:2:63").flip;
    assert_int_equal(flip.virt, UINT64_C(0xffffffff80000000));
    assert_int_equal(flip.level, 2);
    assert_int_equal(flip.bit, 63);
}

static void serial_port_is_looked_for_or_given(void **state) {
    (void)state;
    assert_int_equal(parsed("serial=auto").serial, CONFIG_SERIAL_AUTO);
    assert_int_equal(parsed("serial=spcr").serial, CONFIG_SERIAL_SPCR);
    assert_int_equal(parsed("serial=pci").serial, CONFIG_SERIAL_PCI);
    assert_int_equal(parsed("serial=efi").serial, CONFIG_SERIAL_EFI);
    static const struct {
        const char *text;
        struct uart_place place;
    } given[] = {
        {"serial=io:0x2f8", {.base = 0x2f8}},
        {"serial=io:c000", {.base = 0xc000}},
        {"serial=mmio:0xfe030000", {.base = 0xfe030000, .stride = 1, .width = 1}},
        {"serial=mmio:fe030000:4", {.base = 0xfe030000, .stride = 4, .width = 4}},
        {"serial=mmio:fe030000:4:1", {.base = 0xfe030000, .stride = 4, .width = 1}},
        {"serial=mmio:fe030001:8:1", {.base = 0xfe030001, .stride = 8, .width = 1}},
    };
    for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
        struct config config = parsed(given[i].text);
        assert_int_equal(config.serial, CONFIG_SERIAL_GIVEN);
        assert_int_equal(config.uart.base, given[i].place.base);
        assert_int_equal(config.uart.stride, given[i].place.stride);
        assert_int_equal(config.uart.width, given[i].place.width);
        assert_false(config.uart.keep_line);
    }
}

static void blanks_comments_and_line_ends_of_any_system_are_skipped(void **state) {
    (void)state;
    struct config config = parsed("# all of it\r\n\r\n \t preflight \t=  stop \t # why\r\n"
                                  "kernel=\r\n\n\tsafe_idt=off");
    assert_true(config.preflight_stops);
    assert_false(config.safe_idt);
    assert_string_equal(config.kernel, "");
}

static void bad_value_is_refused_with_its_line_its_key_and_the_value(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"preflight", "Stop"},
        {"safe_idt", "yes"},
        {"identity", "none"},
        {"debugger", "1"},
        {"last", "on"},
        {"sinks", "serial"},
        {"sinks", "uart,"},
        {"sinks", ",uart"},
        {"sinks", ""},
        {"uart_port", ""},
        {"uart_port", "0"},
        {"trace_file", ""},
        {"uart_port", "0x3f8"},
        {"uart_port", "fff9"},
        {"uart_port", "3g8"},
        {"uart_port", "100003f8"},
        {"uart_port", "-1"},
        {"serial", ""},
        {"serial", "com1"},
        {"serial", "io:"},
        {"serial", "io:0"},
        {"serial", "io:fff9"},
        {"serial", "io:3f8:4"},
        {"serial", "mmio:"},
        {"serial", "mmio:0"},
        {"serial", "mmio:fffffffffffff"},
        {"serial", "mmio:fe030000:3"},
        {"serial", "mmio:fe030000:0"},
        {"serial", "mmio:fe030000:16"},
        {"serial", "mmio:fe030000:1:4"},
        {"serial", "mmio:fe030000:4:2"},
        {"serial", "mmio:fe030002:4"},
        {"serial", "mmio:fe030000:4:4:4"},
        {"debugcon_port", "0"},
        {"debugcon_port", "10000"},
        {"identity_pages", "2M"},
        {"identity_pages", "4096"},
        {"breakpoint", "3"},
        {"flip", "1000:2"},
        {"flip", "1000:2:3:4"},
        {"flip", "1000:0:3"},
        {"flip", "1000:6:3"},
        {"flip", "1000:1:64"},
        {"flip", ":1:6"},
        {"flip", "1000::6"},
        {"fail_allocation", "f"},
        {"fail_allocation", "1000001"},
        {"fail_allocation", "18446744073709551617"},
    };
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        char text[100];
        char expected[100];
        snprintf(text, sizeof(text), "# one\nkernel=two\n%s=%s\nnonsense", pairs[i][0],
                 pairs[i][1]);
        snprintf(expected, sizeof(expected), "line 3: bad value: %s=%s", pairs[i][0], pairs[i][1]);
        assert_refused(text, expected);
    }
}

static void unknown_key_is_refused_with_its_line_and_the_key(void **state) {
    (void)state;
    assert_refused("inject2=x", "line 1: unknown key: inject2");
    assert_refused("\n\nInject=x", "line 3: unknown key: Inject");
    assert_refused("=x", "line 1: unknown key: ");
}

static void line_without_an_equals_sign_is_refused(void **state) {
    (void)state;
    assert_refused("kernel=x\npreflight\n", "line 2: not key=value: preflight");
    assert_refused("preflight # =stop", "line 1: not key=value: preflight");
}

static void text_of_127_bytes_fits_and_one_more_is_refused(void **state) {
    (void)state;
    static const char *const keys[] = {"inject", "trace_file", "kernel"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        char text[200];
        int start = snprintf(text, sizeof(text), "%s=", keys[i]);
        memset(text + start, 'y', 128);
        text[start + 127] = '\0';
        struct config config = parsed(text);
        assert_int_equal(strlen(config.inject) + strlen(config.trace_file) + strlen(config.kernel),
                         127 + (i == 1 ? 0 : strlen(CONFIG_DEFAULT_TRACE_FILE)));
        text[start + 127] = 'y';
        text[start + 128] = '\0';
        char expected[100];
        snprintf(expected, sizeof(expected), "line 1: bad value: %.60s", text);
        assert_refused(text, expected);
    }
}

static void nul_inside_a_text_is_refused(void **state) {
    (void)state;
    static const char text[] = "safe_idt=off\nkernel=exit\0hidden\n";
    struct config config;
    struct message why;
    assert_false(parse_bytes(text, sizeof(text) - 1, &config, &why));
    assert_string_equal(why.text, WITH_NUL(2));
}

/* It would else be quoted up to the NUL, as if nothing were wrong with it. */
static void nul_anywhere_is_named_and_not_what_stands_before_it(void **state) {
    (void)state;
    static const char *const lines[] = {"kern\0el=x", "preflight=warn\0", "\0preflight=warn",
                                        "\xff\xfep\0r\0e\0f\0l\0i\0g\0h\0t\0=\0w\0\n\0"};
    static const size_t bytes[] = {10, 15, 15, 27};
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct config config;
        struct message why;
        assert_false(parse_bytes(lines[i], bytes[i], &config, &why));
        assert_string_equal(why.text, WITH_NUL(1));
    }
}

static void mark_of_utf8_before_the_text_is_no_part_of_it(void **state) {
    (void)state;
    assert_true(parsed("\xef\xbb\xbfpreflight=stop\r\n").preflight_stops);
    (void)parsed("\xef\xbb\xbf");
    assert_refused("\n\xef\xbb\xbfpreflight=stop", "line 2: unknown key: ???preflight");
    assert_refused("\xef\xbbpreflight=stop", "line 1: unknown key: ??preflight");
}

static void settings_before_the_wrong_line_are_in_force(void **state) {
    (void)state;
    static const char text[] = "sinks=debugcon\nbad\nsafe_idt=off\n";
    struct config config;
    struct message why;
    assert_false(parse_bytes(text, strlen(text), &config, &why));
    assert_int_equal(config.sinks, CONFIG_SINK_DEBUGCON);
    assert_true(config.safe_idt);
}

static void message_shows_no_control_characters_and_at_most_sixty_bytes(void **state) {
    (void)state;
    assert_refused("\x1b[31mred\x7f\x9b=x", "line 1: unknown key: ?[31mred??");
    assert_refused("two words", "line 1: not key=value: two words");
    char text[400];
    memset(text, 'k', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_refused(
        text,
        "line 1: not key=value: kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk");
}

static void random_bytes_never_leave_an_unterminated_text(void **state) {
    (void)state;
    static const char start[] = "kernel=a\ninject=b\ntrace_file=c\nsinks=uart\nuart_port=3f8\n";
    uint64_t seed = 0xc0f;
    for (unsigned round = 0; round < 20000; round++) {
        char text[sizeof(start)];
        memcpy(text, start, sizeof(start));
        for (unsigned hits = 0; hits < 4; hits++) {
            uint64_t random = fake_random(&seed);
            text[random % (sizeof(text) - 1)] = (char)(random >> 40);
        }
        struct config config;
        struct message why;
        if (!parse_bytes(text, sizeof(text) - 1, &config, &why)) {
            assert_memory_equal(why.text, "line ", 5);
        }
        assert_non_null(memchr(config.inject, '\0', sizeof(config.inject)));
        assert_non_null(memchr(config.trace_file, '\0', sizeof(config.trace_file)));
        assert_non_null(memchr(config.kernel, '\0', sizeof(config.kernel)));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_a_safe_boot_with_a_trace),
        cmocka_unit_test(every_key_sets_its_setting),
        cmocka_unit_test(serial_port_is_looked_for_or_given),
        cmocka_unit_test(blanks_comments_and_line_ends_of_any_system_are_skipped),
        cmocka_unit_test(bad_value_is_refused_with_its_line_its_key_and_the_value),
        cmocka_unit_test(unknown_key_is_refused_with_its_line_and_the_key),
        cmocka_unit_test(line_without_an_equals_sign_is_refused),
        cmocka_unit_test(text_of_127_bytes_fits_and_one_more_is_refused),
        cmocka_unit_test(nul_inside_a_text_is_refused),
        cmocka_unit_test(nul_anywhere_is_named_and_not_what_stands_before_it),
        cmocka_unit_test(mark_of_utf8_before_the_text_is_no_part_of_it),
        cmocka_unit_test(settings_before_the_wrong_line_are_in_force),
        cmocka_unit_test(message_shows_no_control_characters_and_at_most_sixty_bytes),
        cmocka_unit_test(random_bytes_never_leave_an_unterminated_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
