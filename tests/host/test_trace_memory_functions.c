/** memcpy and its like for programs without a C library; under other names, since the test has a
 * library. */
#include "support/cmocka_test.h"

#include <string.h>

#ifdef __x86_64__

#define memcpy plain_memcpy
#define memmove plain_memmove
#define memset plain_memset
#define memcmp plain_memcmp
#include "../../trace/memory_functions.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp

#define BYTES 64u

static void fill(char *bytes) {
    for (unsigned i = 0; i < BYTES; i++) {
        bytes[i] = (char)(i * 5 + 1);
    }
}

static void memmove_survives_every_overlap(void **state) {
    (void)state;
    for (size_t from = 0; from <= BYTES; from++) {
        for (size_t to = 0; to <= BYTES; to++) {
            size_t count = BYTES - (from > to ? from : to);
            char expected[BYTES];
            char got[BYTES];
            fill(expected);
            fill(got);
            memmove(expected + to, expected + from, count);
            assert_ptr_equal(plain_memmove(got + to, got + from, count), got + to);
            assert_memory_equal(got, expected, BYTES);
        }
    }
}

static void memcpy_and_memset_touch_their_bytes_and_no_others(void **state) {
    (void)state;
    char from[BYTES];
    fill(from);
    for (size_t count = 0; count < BYTES - 1; count++) {
        char expected[BYTES] = {0};
        char got[BYTES] = {0};
        memcpy(expected + 1, from, count);
        assert_ptr_equal(plain_memcpy(got + 1, from, count), got + 1);
        assert_memory_equal(got, expected, BYTES);
        memset(expected + 1, 0x1a5, count);
        assert_ptr_equal(plain_memset(got + 1, 0x1a5, count), got + 1);
        assert_memory_equal(got, expected, BYTES);
    }
}

static void memcmp_orders_by_the_first_difference_as_unsigned_bytes(void **state) {
    (void)state;
    assert_int_equal(plain_memcmp("abc", "abd", 2), 0);
    assert_int_equal(plain_memcmp("abc", "abd", 0), 0);
    assert_true(plain_memcmp("abc", "abd", 3) < 0);
    assert_true(plain_memcmp("\xff", "\x01", 1) > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memmove_survives_every_overlap),
        cmocka_unit_test(memcpy_and_memset_touch_their_bytes_and_no_others),
        cmocka_unit_test(memcmp_orders_by_the_first_difference_as_unsigned_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

/* The functions are x86-64 string instructions. */
static void needs_x86_64(void **state) {
    (void)state;
    skip();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(needs_x86_64)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
