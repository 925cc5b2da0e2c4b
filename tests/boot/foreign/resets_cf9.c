/* Gives up by a reset through the chipset's reset control register. */
#include "foreign.h"

#define RESET_CONTROL 0xcf9
#define FULL_RESET 6

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    if (!MENDED) {
        __asm__ volatile("outb %0, %1" ::"a"((UINT8)FULL_RESET), "Nd"((UINT16)RESET_CONTROL));
        for (;;) {
            __asm__ volatile("pause");
        }
    }
    pass();
}
