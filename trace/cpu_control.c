#include "trace/cpu.h"

void cpu_write_cr0(uint64_t value) {
    __asm__ volatile("mov %0, %%cr0" : : "r"(value) : "memory");
}

/* Cold, and so apart from what the dump calls for each byte: where a breakpoint stands on every mov
 * cr3, QEMU's TCG executes the whole page one instruction at a time. */
__attribute__((cold)) void cpu_write_cr3(uint64_t value) {
    __asm__ volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}

void cpu_write_cr4(uint64_t value) {
    __asm__ volatile("mov %0, %%cr4" : : "r"(value) : "memory");
}

void cpu_interrupts_off(void) {
    __asm__ volatile("cli" : : : "memory");
}

uint64_t cpu_read_dr6(void) {
    uint64_t value;
    __asm__ volatile("mov %%db6, %0" : "=r"(value));
    return value;
}

void cpu_write_dr6(uint64_t value) {
    __asm__ volatile("mov %0, %%db6" : : "r"(value));
}

uint64_t cpu_read_dr7(void) {
    uint64_t value;
    __asm__ volatile("mov %%db7, %0" : "=r"(value));
    return value;
}

void cpu_write_dr7(uint64_t value) {
    __asm__ volatile("mov %0, %%db7" : : "r"(value));
}

void cpu_raise_nmi(void) {
    __asm__ volatile("int $2" : : : "memory");
}

void cpu_write_back(void) {
    __asm__ volatile("wbinvd" : : : "memory");
}

void cpu_halt(void) {
    for (;;) {
        __asm__ volatile("cli\n\thlt");
    }
}
