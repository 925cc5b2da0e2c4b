#include "trace/port_io.h"

uint8_t port_in8(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

void port_out8(uint16_t port, uint8_t value) {
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

#ifdef CR3SCOPE_UART_MEMORY
uint8_t register_in8(uint64_t address, unsigned width) {
    if (width == 4) {
        uint32_t value = *(volatile const uint32_t *)(uintptr_t)address;
        return (uint8_t)value;
    }
    return *(volatile const uint8_t *)(uintptr_t)address;
}

void register_out8(uint64_t address, unsigned width, uint8_t value) {
    if (width == 4) {
        *(volatile uint32_t *)(uintptr_t)address = value;
    } else {
        *(volatile uint8_t *)(uintptr_t)address = value;
    }
}
#endif
