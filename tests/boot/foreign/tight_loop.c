/* Waits for a flag that nobody sets. */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    static volatile int is_ready;
    tables *made = identity_tables(system);
    is_ready = MENDED;
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    while (!is_ready) {
    }
    pass();
}
