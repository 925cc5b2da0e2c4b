/** The serial port that the firmware's ACPI tables name: SPCR, its console, else DBG2, its debug
 * port. Whatever stands in the tables, nothing is read that is not memory. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "trace/message.h"
#include "trace/sinks.h"

/** How tables are read. */
struct acpi_memory {
    /** `count` bytes at phys, at least 1; NULL if not all of them are memory. */
    const uint8_t *(*at)(const void *context, uint64_t phys, uint64_t count);
    const void *context;
};

enum acpi_serial {
    ACPI_SERIAL_FOUND,
    ACPI_SERIAL_ABSENT, /* no table names one */
    ACPI_SERIAL_REFUSED /* a table, or what it names, is of no use */
};

/**
 * From the root pointer at rsdp (0: there is none) to a 16550. Unless it is found *place_ret is
 * untouched, and `why` says what is missing, or which table is refused and for what.
 */
enum acpi_serial acpi_serial_find(const struct acpi_memory *memory, uint64_t rsdp,
                                  struct uart_place *place_ret, struct message *why)
    __attribute__((warn_unused_result));
