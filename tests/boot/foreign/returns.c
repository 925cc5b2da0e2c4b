/* Does not find what it looks for, and gives the machine back. */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    if (!MENDED) {
        return EFI_NOT_FOUND;
    }
    tables *made = identity_tables(system);
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    pass();
}
