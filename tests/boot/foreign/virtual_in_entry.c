/* Stores the table's virtual address in the entry, where the physical one belongs. */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    UINT8 *kernel = large_page(system);
    UINT64 offset = MENDED ? 0 : UINT64_C(0xffff800000000000);
    write_passing_code(kernel);
    made->pml4[256] = (UINT64)made->pdpt + offset + PRESENT_WRITABLE;
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    jump(UINT64_C(0xffff800000000000) + (UINT64)kernel);
}
