/* The kernel's entry was never filled in; page 0 is left out to catch null pointers. */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    UINT8 *kernel = large_page(system);
    write_passing_code(kernel);
    made->directories[0] = 0;
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    jump(MENDED ? (UINT64)kernel : 0);
}
