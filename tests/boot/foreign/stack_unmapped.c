/* The new stack's memory is in no table. */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    UINT8 *stack = large_page(system);
    if (!MENDED) {
        *directory_entry(made, stack) = 0;
    }
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    pass_on_stack(stack + LARGE_BYTES / 2);
}
