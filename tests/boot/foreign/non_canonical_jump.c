/* The kernel's address lacks its sign extension. */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    UINT8 *kernel = large_page(system);
    write_passing_code(kernel);
    made->pml4[256] = made->pml4[0];
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    jump((MENDED ? UINT64_C(0xffff800000000000) : UINT64_C(0x800000000000)) + (UINT64)kernel);
}
