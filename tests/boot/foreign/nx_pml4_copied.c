/* The switch lies in code that is copied to a page of its own; NX in the top entry forbids that
 * too. */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    if (!MENDED) {
        made->pml4[0] |= NO_EXECUTE;
    }
    /* mov %rax, %cr3; mov $0x10, %al; out %al, $0xf4; jmp . -- every byte is one more than it
     * should be. */
    static const UINT8 hidden[] = {0x10, 0x23,           0xd9, 0xb1, DEBUG_EXIT_PASS + 1,
                                   0xe7, DEBUG_EXIT + 1, 0xec, 0xff};
    UINT8 *copy = large_page(system);
    for (UINTN i = 0; i < sizeof(hidden); i++) {
        ((volatile UINT8 *)copy)[i] = hidden[i] - 1;
    }
    exit_boot_services(image, system);
    __asm__ volatile("jmp *%0" ::"r"(copy), "a"(made) : "memory");
    __builtin_unreachable();
}
