/** Sinks on I/O ports, against a device that answers as a 16550 does, or as nothing does. */
#include "support/cmocka_test.h"

#include <stdbool.h>
#include <string.h>

#include "trace/port_io.h"
#include "trace/sinks.h"

#define PORT UART_COM1

enum kind {
    KIND_16550,
    KIND_16450,    /* no FIFO */
    KIND_CONSTANT, /* nothing there: every read gives `constant` */
    KIND_MEMORY,   /* registers keep what is written, and that is all */
    KIND_DEBUGCON,
};

static struct device {
    enum kind kind;
    uint8_t constant;
    uint8_t registers[8];
    uint8_t divisor[2];
    bool fifo_enabled;
    bool stuck;          /* the transmitter never gets empty */
    unsigned busy_polls; /* reads of the line status after a write before it is empty again */
    unsigned busy;
    unsigned in_fifo, overruns;
    char sent[4096];
    size_t sent_count;
    uint64_t reads, writes;
} device;

static void device_reset(enum kind kind) {
    memset(&device, 0, sizeof(device));
    device.kind = kind;
}

static uint8_t line_status(void) {
    if (device.stuck) {
        return 0;
    }
    if (device.busy > 0) {
        device.busy--;
        return 0;
    }
    device.in_fifo = 0;
    return 0x60;
}

static uint8_t modem_status(void) {
    uint8_t control = device.registers[4];
    if ((control & 0x10) == 0) {
        return 0xb0;
    }
    return (uint8_t)((control & 0x0c) << 4 | (control & 0x02) << 3 | (control & 0x01) << 5);
}

static uint8_t uart_in(unsigned which) {
    switch (which) {
    case 2:
        return device.fifo_enabled && device.kind == KIND_16550 ? 0xc1 : 0x01;
    case 5:
        return line_status();
    case 6:
        return modem_status();
    default:
        return device.registers[which];
    }
}

static void uart_out(unsigned which, uint8_t value) {
    bool divisor = (device.registers[3] & 0x80) != 0;
    if (divisor && which < 2) {
        device.divisor[which] = value;
    } else if (which == 0) {
        unsigned room = device.fifo_enabled && device.kind == KIND_16550 ? 16 : 1;
        device.overruns += device.in_fifo++ >= room;
        device.busy = device.busy_polls;
        assert_true(device.sent_count < sizeof(device.sent));
        device.sent[device.sent_count++] = (char)value;
    } else if (which == 2) {
        device.fifo_enabled = (value & 1) != 0;
    } else {
        device.registers[which] = value;
    }
}

uint8_t port_in8(uint16_t port) {
    device.reads++;
    if (device.kind == KIND_CONSTANT) {
        return device.constant;
    }
    if (device.kind == KIND_DEBUGCON) {
        return port == DEBUGCON_PORT ? DEBUGCON_SIGNATURE : 0xff;
    }
    assert_int_in_range(port, PORT, PORT + 7);
    unsigned which = (unsigned)port - PORT;
    return device.kind == KIND_MEMORY ? device.registers[which] : uart_in(which);
}

void port_out8(uint16_t port, uint8_t value) {
    device.writes++;
    if (device.kind == KIND_CONSTANT) {
        return;
    }
    if (device.kind == KIND_DEBUGCON) {
        assert_int_equal(port, DEBUGCON_PORT);
        device.sent[device.sent_count++] = (char)value;
        return;
    }
    assert_int_in_range(port, PORT, PORT + 7);
    unsigned which = (unsigned)port - PORT;
    if (device.kind == KIND_MEMORY) {
        device.registers[which] = value;
    } else {
        uart_out(which, value);
    }
}

#define MEMORY UINT64_C(0xfe030000)

/* The same device behind registers in memory; each access must be as wide as was asked for. */
struct bus {
    unsigned stride, width;
};
static struct bus bus;

static unsigned which_register(uint64_t address, unsigned width) {
    assert_int_equal(width, bus.width);
    assert_true(address >= MEMORY && (address - MEMORY) % bus.stride == 0);
    assert_int_in_range((address - MEMORY) / bus.stride, 0, 7);
    return (unsigned)((address - MEMORY) / bus.stride);
}

uint8_t register_in8(uint64_t address, unsigned width) {
    return port_in8((uint16_t)(PORT + which_register(address, width)));
}

void register_out8(uint64_t address, unsigned width, uint8_t value) {
    port_out8((uint16_t)(PORT + which_register(address, width)), value);
}

static void uart_in_memory_is_one_with_any_distance_of_its_registers(void **state) {
    (void)state;
    static const uint8_t forms[][2] = {{1, 1}, {2, 1}, {4, 1}, {4, 4}, {8, 4}};
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct uart_sink uart;
        const struct uart_place place = {
            .base = MEMORY, .stride = forms[i][0], .width = forms[i][1]};
        bus.stride = forms[i][0];
        bus.width = forms[i][1];
        device_reset(KIND_16550);
        assert_true(uart_sink_init_at(&uart, &place));
        assert_int_equal(device.divisor[0], 1);
        uart.sink.write(uart.sink.context, "twenty bytes of text", 20);
        assert_int_equal(device.sent_count, 20);
        assert_memory_equal(device.sent, "twenty bytes of text", 20);
        assert_int_equal(device.overruns, 0);
    }
}

static void nothing_in_memory_is_no_uart_and_ends_within_a_bound(void **state) {
    (void)state;
    static const uint8_t constants[] = {0xff, 0x00};
    const struct uart_place place = {.base = MEMORY, .stride = 4, .width = 4};
    bus.stride = bus.width = 4;
    for (size_t i = 0; i < sizeof(constants); i++) {
        struct uart_sink uart = {.place.base = 0x1234};
        device_reset(KIND_CONSTANT);
        device.constant = constants[i];
        assert_false(uart_sink_init_at(&uart, &place));
        assert_int_equal(uart.place.base, 0x1234);
        assert_true(device.reads <= 2 && device.writes <= 2);
    }
}

static void line_that_the_firmware_has_set_is_kept(void **state) {
    (void)state;
    struct uart_sink uart;
    const struct uart_place place = {.base = PORT, .keep_line = true};
    device_reset(KIND_16550);
    device.divisor[0] = 12;
    assert_true(uart_sink_init_at(&uart, &place));
    assert_int_equal(device.divisor[0], 12);
    uart.sink.write(uart.sink.context, "x", 1);
    assert_int_equal(device.sent_count, 1);
}

static void absent_port_is_refused_after_the_scratch_register_alone(void **state) {
    (void)state;
    const uint8_t constants[] = {0xff, 0x00, 0x5a, 0xa5};
    for (size_t i = 0; i < sizeof(constants); i++) {
        struct uart_sink uart = {.place.base = 0x1234};
        device_reset(KIND_CONSTANT);
        device.constant = constants[i];
        assert_false(uart_sink_init(&uart, PORT));
        assert_int_equal(uart.place.base, 0x1234);
        assert_int_in_range(device.reads, 1, 2);
        assert_int_in_range(device.writes, 1, 2);
    }
}

static void port_that_only_keeps_values_is_no_uart(void **state) {
    (void)state;
    struct uart_sink uart;
    device_reset(KIND_MEMORY);
    device.registers[5] = 0x60;
    device.registers[4] = 0x0b;
    assert_false(uart_sink_init(&uart, PORT));
    assert_int_equal(device.registers[4], 0x0b);
}

static void uart_is_set_to_115200_8n1_with_fifos_and_without_interrupts(void **state) {
    (void)state;
    struct uart_sink uart;
    device_reset(KIND_16550);
    device.registers[1] = 0x0f;
    assert_true(uart_sink_init(&uart, PORT));
    assert_int_equal(device.divisor[0], 1);
    assert_int_equal(device.divisor[1], 0);
    assert_int_equal(device.registers[1], 0);
    assert_int_equal(device.registers[3], 0x03);
    assert_int_equal(device.registers[4], 0x03);
    assert_true(device.fifo_enabled);
    assert_int_equal(device.sent_count, 0);
}

static void uart_gets_every_byte_in_order_and_no_fifo_overruns(void **state) {
    (void)state;
    const enum kind kinds[] = {KIND_16550, KIND_16450};
    for (size_t i = 0; i < 2; i++) {
        struct uart_sink uart;
        char bytes[1000];
        for (size_t k = 0; k < sizeof(bytes); k++) {
            bytes[k] = (char)(k * 7);
        }
        device_reset(kinds[i]);
        device.busy_polls = 50;
        assert_true(uart_sink_init(&uart, PORT));
        uart.sink.write(uart.sink.context, bytes, 999);
        uart.sink.write(uart.sink.context, bytes + 999, 1);
        assert_int_equal(device.sent_count, sizeof(bytes));
        assert_memory_equal(device.sent, bytes, sizeof(bytes));
        assert_int_equal(device.overruns, 0);
        assert_int_equal(uart.dropped, 0);
    }
}

static void stuck_transmitter_is_given_up_in_bounded_time_and_its_bytes_counted(void **state) {
    (void)state;
    struct uart_sink uart;
    char bytes[100] = {0};
    device_reset(KIND_16550);
    assert_true(uart_sink_init(&uart, PORT));
    device.stuck = true;
    uart.sink.write(uart.sink.context, bytes, sizeof(bytes));
    assert_int_equal(uart.dropped, sizeof(bytes));
    assert_int_equal(device.sent_count, 0);

    uint64_t reads = device.reads;
    assert_int_in_range(reads, 1, (uint64_t)UART_MAX_POLLS * UART_MAX_TIMEOUTS + 100);
    uart.sink.write(uart.sink.context, bytes, sizeof(bytes));
    assert_int_equal(device.reads, reads);
    assert_int_equal(uart.dropped, 2 * sizeof(bytes));
}

static void transmitter_that_recovers_goes_on(void **state) {
    (void)state;
    struct uart_sink uart;
    device_reset(KIND_16550);
    assert_true(uart_sink_init(&uart, PORT));
    device.busy = UART_MAX_POLLS + 10;
    uart.sink.write(uart.sink.context, "abcd", 4);
    assert_int_equal(uart.dropped, 1);
    assert_string_equal(device.sent, "bcd");
}

static void transmitter_that_never_empties_fails_the_probe_in_bounded_time(void **state) {
    (void)state;
    struct uart_sink uart;
    device_reset(KIND_16550);
    device.stuck = true;
    assert_false(uart_sink_init(&uart, PORT));
    assert_int_in_range(device.reads, 1, UART_MAX_POLLS + 100);
}

static void resumed_uart_is_not_set_anew_and_uses_the_fifo_that_is_on(void **state) {
    (void)state;
    struct uart_sink uart;
    device_reset(KIND_16550);
    device.fifo_enabled = true;
    uart_sink_resume(&uart, PORT);
    assert_int_equal(device.writes, 0);
    assert_int_equal(uart.burst, 16);
    device.fifo_enabled = false;
    uart_sink_resume(&uart, PORT);
    assert_int_equal(uart.burst, 1);
    uart.sink.write(uart.sink.context, "x", 1);
    assert_string_equal(device.sent, "x");
}

static void debugcon_is_found_by_what_its_port_reads(void **state) {
    (void)state;
    struct debugcon_sink debugcon = {.port = 0x1234};
    device_reset(KIND_CONSTANT);
    device.constant = 0xff;
    assert_false(debugcon_sink_init(&debugcon, DEBUGCON_PORT));
    assert_int_equal(debugcon.port, 0x1234);
    assert_int_equal(device.writes, 0);

    device_reset(KIND_DEBUGCON);
    assert_true(debugcon_sink_init(&debugcon, DEBUGCON_PORT));
    debugcon.sink.write(debugcon.sink.context, "record", 6);
    assert_string_equal(device.sent, "record");
}

static void buffer_keeps_what_fits_and_counts_the_rest(void **state) {
    (void)state;
    char bytes[] = "........";
    struct buffer_sink buffer;
    buffer_sink_init(&buffer, bytes, 6);
    buffer.sink.write(buffer.sink.context, "abcd", 4);
    buffer.sink.write(buffer.sink.context, "efgh", 4);
    buffer.sink.write(buffer.sink.context, "i", 1);
    assert_memory_equal(bytes, "abcdef..", 8);
    assert_int_equal(buffer.used, 6);
    assert_int_equal(buffer.dropped, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uart_in_memory_is_one_with_any_distance_of_its_registers),
        cmocka_unit_test(nothing_in_memory_is_no_uart_and_ends_within_a_bound),
        cmocka_unit_test(line_that_the_firmware_has_set_is_kept),
        cmocka_unit_test(absent_port_is_refused_after_the_scratch_register_alone),
        cmocka_unit_test(port_that_only_keeps_values_is_no_uart),
        cmocka_unit_test(uart_is_set_to_115200_8n1_with_fifos_and_without_interrupts),
        cmocka_unit_test(uart_gets_every_byte_in_order_and_no_fifo_overruns),
        cmocka_unit_test(stuck_transmitter_is_given_up_in_bounded_time_and_its_bytes_counted),
        cmocka_unit_test(transmitter_that_recovers_goes_on),
        cmocka_unit_test(transmitter_that_never_empties_fails_the_probe_in_bounded_time),
        cmocka_unit_test(resumed_uart_is_not_set_anew_and_uses_the_fifo_that_is_on),
        cmocka_unit_test(debugcon_is_found_by_what_its_port_reads),
        cmocka_unit_test(buffer_keeps_what_fits_and_counts_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
