/* NX in every PML4 entry, meant for "data by default": it rules over all code below. */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    for (UINTN i = 0; !MENDED && i < ENTRIES; i++) {
        made->pml4[i] |= NO_EXECUTE;
    }
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    pass();
}
