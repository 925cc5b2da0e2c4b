/* The mistakes in a UEFI program, a PE by clang, while the firmware runs. */
#include "mistakes.h"

extern uint8_t __ImageBase[];

uint64_t efi_main(void *image, void *system);
uint64_t efi_main(void *image, void *system) {
    uint64_t base = (uint64_t)__ImageBase;
    (void)image;
    (void)system;
    rehearses = true;
    check_all(base, *(uint32_t *)(base + *(uint32_t *)(base + 0x3c) + 80), MISTAKES);
}
