/* A loop of two blocks, with pause and with interrupts on, but every source of them is masked. */
#include "foreign.h"

static volatile UINT32 never;

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    enable_masked_interrupts();
    while (!MENDED) {
        if (never) {
            break;
        }
        __asm__ volatile("pause");
    }
    pass();
}
