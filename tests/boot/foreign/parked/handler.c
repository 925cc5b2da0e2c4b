/* Parks in the handler of an exception: it did not get far. */
#include "../foreign.h"

#define GATE_INTERRUPT_64 0x8e00u
#define INVALID_OPCODE 6

static UINT64 idt[2 * (INVALID_OPCODE + 1)];

static void __attribute__((naked)) handler(void) {
    __asm__ volatile("1: cli\n\t"
                     "hlt\n\t"
                     "jmp 1b");
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    struct __attribute__((packed)) {
        UINT16 limit;
        UINT64 base;
    } idtr = {sizeof(idt) - 1, (UINT64)idt};
    UINT64 address = (UINT64)&handler;
    UINT16 code;
    __asm__("mov %%cs, %0" : "=r"(code));
    exit_boot_services(image, system);
    idt[2 * INVALID_OPCODE] = (address & 0xffff) | (UINT64)code << 16 |
                              (UINT64)GATE_INTERRUPT_64 << 32 | (address >> 16 & 0xffff) << 48;
    idt[2 * INVALID_OPCODE + 1] = address >> 32;
    load_cr3((UINT64)made);
    __asm__ volatile("cli\n\tlidt %0\n\tud2" ::"m"(idtr));
    pass();
}
