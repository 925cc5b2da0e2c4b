/* Ports at which nothing answers. */
#include "trace/port_io.h"

uint8_t port_in8(uint16_t port) {
    (void)port;
    return 0xff;
}

void port_out8(uint16_t port, uint8_t value) {
    (void)port;
    (void)value;
}

uint8_t register_in8(uint64_t address, unsigned width) {
    (void)address;
    (void)width;
    return 0xff;
}

void register_out8(uint64_t address, unsigned width, uint8_t value) {
    (void)address;
    (void)width;
    (void)value;
}
