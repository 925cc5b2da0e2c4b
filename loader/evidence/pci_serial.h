/** The first serial port on the PCI buses: class 07h, subclass 00h, a programming interface of the
 * 8250 family (PCI Code and ID Assignment, 1.9). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "trace/sinks.h"

/** 32 bits of the configuration space: of bus, device, function, at a register of it. */
struct pci_config {
    uint32_t (*read)(void *context, uint32_t address);
    void (*write)(void *context, uint32_t address, uint32_t value);
    void *context;
};

/** Where in its space a register is: what pci_config takes, and configuration mechanism 1 (CF8h).
 */
#define PCI_ADDRESS(bus, device, function, at)                                                     \
    (UINT32_C(0x80000000) | (uint32_t)(bus) << 16 | (uint32_t)(device) << 11 |                     \
     (uint32_t)(function) << 8 | (uint32_t)(at))

/** Lets it answer at its address, too. False if there is none; *place_ret is untouched then. */
bool pci_serial_find(const struct pci_config *config, struct uart_place *place_ret)
    __attribute__((warn_unused_result));
