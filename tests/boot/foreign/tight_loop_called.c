/* Waits in a function for a flag that nobody sets. */
#include "foreign.h"

static volatile int is_ready;

static __attribute__((noinline)) void wait_for(const volatile int *flag) {
    while (!*flag) {
    }
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    is_ready = MENDED;
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    wait_for(&is_ready);
    pass();
}
