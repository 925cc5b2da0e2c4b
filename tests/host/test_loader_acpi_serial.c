/** The serial port that ACPI names: from tables that are as they should be, and from others. */
#include "support/cmocka_test.h"

#include <string.h>

#include "evidence/acpi_serial.h"

#define MEMORY UINT64_C(0x7f000000)
#define XSDT 0x100u
#define SPCR 0x200u
#define DBG2 0x300u

static uint8_t memory_bytes[0x1000];

static const uint8_t *at(const void *context, uint64_t phys, uint64_t count) {
    (void)context;
    if (phys < MEMORY || phys - MEMORY > sizeof(memory_bytes) ||
        count > sizeof(memory_bytes) - (phys - MEMORY)) {
        return NULL;
    }
    return memory_bytes + (phys - MEMORY);
}

static const struct acpi_memory memory = {at, NULL};

static void put(size_t where, uint64_t value, size_t count) {
    for (size_t i = 0; i < count; i++) {
        memory_bytes[where + i] = (uint8_t)(value >> (8 * i));
    }
}

static void seal(size_t where, size_t count, size_t checksum) {
    uint8_t sum = 0;
    memory_bytes[where + checksum] = 0;
    for (size_t i = 0; i < count; i++) {
        sum = (uint8_t)(sum + memory_bytes[where + i]);
    }
    memory_bytes[where + checksum] = (uint8_t)-sum;
}

static void table(size_t where, const char *name, uint32_t length) {
    memcpy(memory_bytes + where, name, 4);
    put(where + 4, length, 4);
    seal(where, length, 9);
}

static void address(size_t where, unsigned space, unsigned width, unsigned access, uint64_t base) {
    put(where, space | width << 8 | access << 24, 4);
    put(where + 4, base, 8);
}

/* A root pointer, an XSDT with both tables, COM2 in SPCR and a port in memory in DBG2. */
static void healthy(void) {
    memset(memory_bytes, 0, sizeof(memory_bytes));
    memcpy(memory_bytes, "RSD PTR ", 8);
    memory_bytes[15] = 2;
    put(20, 36, 4);
    put(24, MEMORY + XSDT, 8);
    seal(0, 20, 8);
    seal(0, 36, 32);
    put(XSDT + 36, MEMORY + SPCR, 8);
    put(XSDT + 44, MEMORY + DBG2, 8);
    table(XSDT, "XSDT", 52);
    address(SPCR + 40, 1, 8, 1, 0x2f8);
    table(SPCR, "SPCR", 80);
    put(DBG2 + 36, 44, 4);
    put(DBG2 + 40, 2, 4);
    put(DBG2 + 44 + 1, 22, 2); /* of another kind */
    put(DBG2 + 44 + 12, 0x8003, 2);
    put(DBG2 + 66 + 1, 40, 2);
    put(DBG2 + 66 + 12, 0x8000, 2);
    put(DBG2 + 66 + 14, 0x12, 2);
    put(DBG2 + 66 + 18, 22, 2);
    address(DBG2 + 66 + 22, 0, 32, 3, 0xfe030000);
    table(DBG2, "DBG2", 106);
}

static struct uart_place found(void) {
    struct uart_place place;
    struct message why;
    assert_int_equal(acpi_serial_find(&memory, MEMORY, &place, &why), ACPI_SERIAL_FOUND);
    return place;
}

static void refused(enum acpi_serial how, const char *expected) {
    struct uart_place place = {.base = 0x1234};
    struct message why;
    assert_int_equal(acpi_serial_find(&memory, MEMORY, &place, &why), how);
    assert_string_equal(why.text, expected);
    assert_int_equal(place.base, 0x1234);
}

static void forget(size_t where) {
    memory_bytes[where] = '_';
    seal(where, 36, 9);
}

static void consoles_port_comes_before_the_debug_port(void **state) {
    (void)state;
    healthy();
    struct uart_place place = found();
    assert_int_equal(place.base, 0x2f8);
    assert_int_equal(place.stride, 0);
    assert_true(place.keep_line);
    forget(SPCR);
    place = found();
    assert_int_equal(place.base, 0xfe030000);
    assert_int_equal(place.stride, 4);
    assert_int_equal(place.width, 4);
    forget(DBG2);
    refused(ACPI_SERIAL_ABSENT, "no ACPI table names one: no SPCR, no DBG2");
}

static void old_root_pointer_leads_to_four_byte_addresses(void **state) {
    (void)state;
    healthy();
    memory_bytes[15] = 0;
    put(16, MEMORY + XSDT, 4);
    seal(0, 20, 8);
    put(XSDT + 36, MEMORY + SPCR, 4);
    table(XSDT, "RSDT", 40);
    assert_int_equal(found().base, 0x2f8);
}

static void distance_of_registers_is_what_their_address_says(void **state) {
    (void)state;
    static const struct {
        uint8_t width, access, stride, of_access;
    } forms[] = {{8, 1, 1, 1},  {8, 0, 1, 1},  {32, 1, 4, 1},
                 {32, 3, 4, 4}, {32, 0, 4, 4}, {8, 3, 4, 4}};
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        healthy();
        address(SPCR + 40, 0, forms[i].width, forms[i].access, 0xfe030000);
        table(SPCR, "SPCR", 80);
        struct uart_place place = found();
        assert_int_equal(place.stride, forms[i].stride);
        assert_int_equal(place.width, forms[i].of_access);
    }
}

static void edit_spcr(size_t where, uint64_t value, size_t count) {
    healthy();
    forget(DBG2);
    put(SPCR + where, value, count);
    seal(SPCR, 80, 9);
}

static void each_thing_that_cannot_be_is_refused_in_words(void **state) {
    (void)state;
    static const struct {
        size_t where;
        uint64_t value;
        size_t count;
        const char *expected;
    } rows[] = {
        {36, 3, 1, "ACPI table SPCR: its port is no 16550"},
        {44, 0, 8, "ACPI table SPCR: its port is turned off: address 0"},
        {44, 0xfff9, 8, "ACPI table SPCR: an I/O port that there is none of"},
        {40, 3, 1, "ACPI table SPCR: a port that is neither in memory nor an I/O port"},
        {40, 0x02000800, 4,
         "ACPI table SPCR: registers that are accessed by neither 8 nor 32 bits"},
        {40, 0x00001000, 4,
         "ACPI table SPCR: registers that are accessed by neither 8 nor 32 bits"},
        {4, 35, 4, "ACPI table SPCR: a length that no such table has"},
        {4, 0xffffffff, 4, "ACPI table SPCR: a length that no such table has"},
        {4, 0x8000, 4, "ACPI table SPCR: its end does not lie in memory"},
        {0, 0, 0, NULL},
    };
    for (size_t i = 0; rows[i].expected != NULL; i++) {
        edit_spcr(rows[i].where, rows[i].value, rows[i].count);
        refused(ACPI_SERIAL_REFUSED, rows[i].expected);
    }
    edit_spcr(44, 0x2f8, 8);
    memory_bytes[SPCR + 70] ^= 1;
    refused(ACPI_SERIAL_REFUSED, "ACPI table SPCR: its checksum is wrong");
    edit_spcr(44, UINT64_MAX - 3, 8);
    memory_bytes[SPCR + 40] = 0;
    seal(SPCR, 80, 9);
    refused(ACPI_SERIAL_REFUSED, "ACPI table SPCR: an address that no register can have");
    edit_spcr(44, 0x2f8, 8);
    table(SPCR, "SPCR", 40);
    refused(ACPI_SERIAL_REFUSED, "ACPI table SPCR: too short");
}

static void root_that_is_none_is_refused_in_words(void **state) {
    (void)state;
    struct uart_place place;
    struct message why;
    assert_int_equal(acpi_serial_find(&memory, 0, &place, &why), ACPI_SERIAL_ABSENT);
    assert_string_equal(why.text, "the firmware has no ACPI tables");
    static const uint64_t wild[] = {1, UINT64_MAX, UINT64_MAX - 19, MEMORY + 0xff0};
    for (size_t i = 0; i < sizeof(wild) / sizeof(wild[0]); i++) {
        assert_int_equal(acpi_serial_find(&memory, wild[i], &place, &why), ACPI_SERIAL_REFUSED);
        assert_string_equal(why.text, "ACPI table RSDP: no root pointer is there");
    }
    healthy();
    put(24, UINT64_MAX - 8, 8);
    seal(0, 20, 8);
    seal(0, 36, 32);
    refused(ACPI_SERIAL_REFUSED, "ACPI table XSDT: it does not lie in memory");
    healthy();
    memory_bytes[33] ^= 1;
    refused(ACPI_SERIAL_REFUSED, "ACPI table RSDP: its checksum is wrong");
    healthy();
    put(XSDT + 36, UINT64_MAX, 8); /* an address that wraps is passed over */
    table(XSDT, "XSDT", 52);
    assert_int_equal(found().base, 0xfe030000);
}

static void entry_that_does_not_fit_its_table_is_refused_in_words(void **state) {
    (void)state;
    static const struct {
        size_t where;
        uint64_t value;
        size_t count;
        const char *expected;
    } rows[] = {
        {36, 0xffffffff, 4, "ACPI table DBG2: a port's entry that does not lie in it"},
        {36, 85, 4, "ACPI table DBG2: a port's entry that does not lie in it"},
        {45, 0, 2, "ACPI table DBG2: a port's entry with a length that does not fit"},
        {45, 0xffff, 2, "ACPI table DBG2: a port's entry with a length that does not fit"},
        {66 + 18, 29, 2, "ACPI table DBG2: a port's address that does not lie in its entry"},
        {66 + 18, 0xffff, 2, "ACPI table DBG2: a port's address that does not lie in its entry"},
        {40, 1, 4, "ACPI table DBG2: it names no 16550"},
        {40, 0xffffffff, 4, NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        healthy();
        forget(SPCR);
        put(DBG2 + rows[i].where, rows[i].value, rows[i].count);
        seal(DBG2, 106, 9);
        if (rows[i].expected != NULL) {
            refused(ACPI_SERIAL_REFUSED, rows[i].expected);
        } else {
            assert_int_equal(found().base, 0xfe030000);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(consoles_port_comes_before_the_debug_port),
        cmocka_unit_test(old_root_pointer_leads_to_four_byte_addresses),
        cmocka_unit_test(distance_of_registers_is_what_their_address_says),
        cmocka_unit_test(each_thing_that_cannot_be_is_refused_in_words),
        cmocka_unit_test(root_that_is_none_is_refused_in_words),
        cmocka_unit_test(entry_that_does_not_fit_its_table_is_refused_in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
