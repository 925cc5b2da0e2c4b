/** ACPI tables of any bytes: nothing outside them is read, and what is found could be a port. */
#include "evidence/acpi_serial.h"
#include <stdlib.h>

#include "take.h"
#include "target.h"

#define FIRST UINT64_C(0x7f000000)
#define SIGNATURE(a, b, c, d) ((uint64_t)(a) | (b) << 8 | (c) << 16 | (uint64_t)(d) << 24)

static uint8_t *own;

static const uint8_t *at(const void *context, uint64_t phys, uint64_t count) {
    const struct take *memory = context;
    REQUIRE(count > 0);
    if (phys < FIRST || phys - FIRST > memory->left || count > memory->left - (phys - FIRST)) {
        return NULL;
    }
    return memory->bytes + (phys - FIRST);
}

/* A fuzzer guesses no checksum: each table that the first bytes name is given its own. */
static void seal(struct take *memory, size_t where, size_t count, size_t checksum) {
    if (where < memory->left && count <= memory->left - where && count > checksum) {
        uint8_t sum = 0;
        own[where + checksum] = 0;
        for (size_t i = 0; i < count; i++) {
            sum = (uint8_t)(sum + own[where + i]);
        }
        own[where + checksum] = (uint8_t)-sum;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct uart_place place = {.base = 0x1234};
    struct message why = {.length = 0};
    own = malloc(size + 1);
    memcpy(own, data, size);
    struct take memory = {own, size};
    for (size_t at_table = 0; at_table + 8 <= size; at_table += 4) {
        struct take header = {own + at_table, 8};
        uint64_t signature = take_number(&header, 4); /* libFuzzer listens to each memcmp: dear */
        if (signature == SIGNATURE('S', 'P', 'C', 'R') ||
            signature == SIGNATURE('D', 'B', 'G', '2') ||
            signature == SIGNATURE('X', 'S', 'D', 'T')) {
            seal(&memory, at_table, take_number(&header, 4), 9);
        }
    }
    seal(&memory, 0, 20, 8);
    seal(&memory, 0, 36, 32);
    const struct acpi_memory tables = {at, &memory};
    if (acpi_serial_find(&tables, FIRST, &place, &why) == ACPI_SERIAL_FOUND) {
        REQUIRE(place.base != 0);
        REQUIRE(place.stride != 0 ? place.base <= UINT64_MAX - 64 : place.base <= 0xfff8);
        REQUIRE(place.stride == 0 || place.base % place.width == 0);
    } else {
        REQUIRE(place.base == 0x1234 && why.length > 0);
    }
    free(own);
    return 0;
}
