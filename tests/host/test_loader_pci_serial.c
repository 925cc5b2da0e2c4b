/** The serial port on PCI, on buses of which a test says what is there. */
#include "support/cmocka_test.h"

#include <string.h>

#include "evidence/pci_serial.h"

#define MANY 0x00800000u

/* The functions that are there; everything else reads as nothing does. */
static struct function {
    uint32_t address;
    uint32_t words[16];
} functions[4];
static size_t count;
static unsigned reads, writes;

static struct function *function_at(uint32_t address) {
    for (size_t i = 0; i < count; i++) {
        if ((address & ~UINT32_C(0xff)) == functions[i].address) {
            return &functions[i];
        }
    }
    return NULL;
}

static uint32_t read(void *context, uint32_t address) {
    struct function *function = function_at(address);
    (void)context;
    reads++;
    return function == NULL ? UINT32_MAX : function->words[(address & 0x3f) / 4];
}

static void write(void *context, uint32_t address, uint32_t value) {
    struct function *function = function_at(address);
    (void)context;
    writes++;
    assert_non_null(function);
    function->words[(address & 0x3f) / 4] = value;
}

static const struct pci_config config = {read, write, NULL};

static void nobody(void) {
    count = 0;
    reads = writes = 0;
}

static struct function *add(unsigned bus, unsigned device, unsigned number, uint32_t class,
                            uint32_t base) {
    struct function *function = &functions[count++];
    memset(function, 0, sizeof(*function));
    function->address = PCI_ADDRESS(bus, device, number, 0);
    function->words[0] = 0x00021b36;
    function->words[2] = class << 8;
    function->words[4] = base;
    return function;
}

static void empty_buses_have_none_and_are_asked_once(void **state) {
    (void)state;
    struct uart_place place = {.base = 0x1234};
    nobody();
    assert_false(pci_serial_find(&config, &place));
    assert_int_equal(place.base, 0x1234);
    assert_int_equal(reads, 256 * 32);
    assert_int_equal(writes, 0);
}

static void port_of_any_kind_is_taken_and_told_to_answer(void **state) {
    (void)state;
    static const struct {
        uint32_t low, high;
        struct uart_place place;
        uint32_t command;
    } rows[] = {
        {0xc001, 0, {.base = 0xc000}, 1},
        {0xfebf0000, 7, {.base = 0xfebf0000, .stride = 1, .width = 1}, 2},
        {0xfebf0004, 7, {.base = UINT64_C(0x7febf0000), .stride = 1, .width = 1}, 2},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct uart_place place;
        nobody();
        (void)add(0, 0, 0, 0x060000, 0);
        struct function *port = add(3, 31, 0, 0x070002, rows[i].low);
        port->words[5] = rows[i].high;
        port->words[1] = 0x02900004; /* status bits, and bus mastering */
        assert_true(pci_serial_find(&config, &place));
        assert_int_equal(place.base, rows[i].place.base);
        assert_int_equal(place.stride, rows[i].place.stride);
        assert_int_equal(port->words[1], 4 | rows[i].command);
        assert_int_equal(writes, 1);
    }
}

static void function_behind_the_first_is_looked_at_only_where_there_are_many(void **state) {
    (void)state;
    struct uart_place place;
    nobody();
    struct function *first = add(0, 5, 0, 0x068000, 0);
    (void)add(0, 5, 3, 0x070002, 0xc001);
    assert_false(pci_serial_find(&config, &place));
    first->words[3] = MANY;
    assert_true(pci_serial_find(&config, &place));
    assert_int_equal(place.base, 0xc000);
}

static void what_is_no_port_of_the_family_or_has_no_address_is_passed_over(void **state) {
    (void)state;
    static const struct {
        uint32_t class, base, header;
    } rows[] = {
        {0x070100, 0xc001, 0},       /* a parallel port */
        {0x070007, 0xc001, 0},       /* of no such family */
        {0x070002, 0x0001, 0},       /* never given an address */
        {0x070002, 0x00000004, 0},   /* the same, of 64 bits */
        {0x070002, 0xfffffff1, 0},   /* no I/O port */
        {0x070002, 0xc001, 0x10000}, /* a bridge */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct uart_place place = {.base = 0x1234};
        nobody();
        add(0, 1, 0, rows[i].class, rows[i].base)->words[3] = rows[i].header;
        assert_false(pci_serial_find(&config, &place));
        assert_int_equal(place.base, 0x1234);
        assert_int_equal(writes, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_buses_have_none_and_are_asked_once),
        cmocka_unit_test(port_of_any_kind_is_taken_and_told_to_answer),
        cmocka_unit_test(function_behind_the_first_is_looked_at_only_where_there_are_many),
        cmocka_unit_test(what_is_no_port_of_the_family_or_has_no_address_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
