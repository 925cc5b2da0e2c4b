#include "evidence/pci_serial.h"

/* PCI Local Bus Specification 3.0, 6.1 and 6.2.5. */
#define IDENTITY 0x00
#define COMMAND 0x04
#define CLASS 0x08
#define HEADER 0x0c
#define BASE_ADDRESS 0x10
#define NOBODY UINT32_C(0xffffffff)
#define COMMAND_PORTS UINT32_C(1)
#define COMMAND_MEMORY UINT32_C(2)
#define STATUS UINT32_C(0xffff0000) /* bits are cleared by writing them */
#define MANY_FUNCTIONS UINT32_C(0x00800000)
#define HEADER_TYPE UINT32_C(0x007f0000)
#define CLASS_SERIAL UINT32_C(0x0700)
#define LAST_INTERFACE 6u /* 16950 */
#define BASE_IS_PORTS UINT32_C(1)
#define BASE_TYPE UINT32_C(6)
#define BASE_64 UINT32_C(4)
#define LAST_PORT UINT32_C(0xfff8)

#define BUSES 256u
#define DEVICES 32u
#define FUNCTIONS 8u

static bool is_serial(uint32_t class, uint32_t header) {
    return class >> 16 == CLASS_SERIAL && (class >> 8 & 0xff) <= LAST_INTERFACE &&
           (header & HEADER_TYPE) == 0;
}

/* The first base address is that of the port, or of a card's first. */
static bool place_of(const struct pci_config *config, uint32_t function,
                     struct uart_place *place_ret) {
    uint32_t base = config->read(config->context, function | BASE_ADDRESS);
    uint32_t command = config->read(config->context, function | COMMAND) & ~STATUS;
    uint64_t address = base & ~UINT32_C(0xf);
    uint32_t answers = COMMAND_MEMORY;
    struct uart_place place = {.stride = 1, .width = 1};
    if ((base & BASE_IS_PORTS) != 0) {
        address = base & ~UINT32_C(3);
        answers = COMMAND_PORTS;
        place.stride = 0;
        if (address > LAST_PORT) {
            return false;
        }
    } else if ((base & BASE_TYPE) == BASE_64) {
        address |= (uint64_t)config->read(config->context, function | (BASE_ADDRESS + 4)) << 32;
    }
    if (address == 0) {
        return false; /* nobody has given it one */
    }
    place.base = address;
    if ((command & answers) == 0) {
        config->write(config->context, function | COMMAND, command | answers);
    }
    *place_ret = place;
    return true;
}

bool pci_serial_find(const struct pci_config *config, struct uart_place *place_ret) {
    for (uint32_t slot = 0; slot < BUSES * DEVICES; slot++) {
        uint32_t functions = 1;
        for (uint32_t i = 0; i < functions; i++) {
            uint32_t function = PCI_ADDRESS(slot / DEVICES, slot % DEVICES, i, 0);
            if (config->read(config->context, function | IDENTITY) == NOBODY) {
                continue;
            }
            uint32_t header = config->read(config->context, function | HEADER);
            if (i == 0 && (header & MANY_FUNCTIONS) != 0) {
                functions = FUNCTIONS;
            }
            uint32_t class = config->read(config->context, function | CLASS);
            if (is_serial(class, header) && place_of(config, function, place_ret)) {
                return true;
            }
        }
    }
    return false;
}
