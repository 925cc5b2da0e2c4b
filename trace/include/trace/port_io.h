/** I/O ports. The sinks use these two alone: a test links a device of its own in their place. */
#pragma once

#include <stdint.h>

uint8_t port_in8(uint16_t port);
void port_out8(uint16_t port, uint8_t value);
