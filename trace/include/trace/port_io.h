/** I/O ports, and registers of a device in memory. The sinks use these alone: a test links a device
 * of its own in their place. */
#pragma once

#include <stdint.h>

uint8_t port_in8(uint16_t port);
void port_out8(uint16_t port, uint8_t value);

#ifdef CR3SCOPE_UART_MEMORY
/** At a virtual address, by one access of `width` bytes: 4, else 1. */
uint8_t register_in8(uint64_t address, unsigned width);
void register_out8(uint64_t address, unsigned width, uint8_t value);
#endif
