/* Maps the kernel in the upper half and forgets the code that is running. */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    UINT8 *kernel = large_page(system);
    write_passing_code(kernel);
    made->pml4[256] = made->pml4[0];
    if (!MENDED) {
        made->pml4[0] = 0;
    }
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    jump(UINT64_C(0xffff800000000000) + (UINT64)kernel);
}
