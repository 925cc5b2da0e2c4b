/* Gives up by a reset through the keyboard controller, as kernels do whose panic= says so. */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    if (!MENDED) {
        __asm__ volatile("out %0, $0x64" ::"a"((UINT8)0xfe));
        for (;;) {
            __asm__ volatile("pause");
        }
    }
    pass();
}
