/* A check that fails, two calls deep, in the compiler's own way. */
#include "foreign.h"

static __attribute__((noinline)) void check(UINT64 value) {
    if (value == 0) {
        __builtin_trap();
    }
    __asm__ volatile("");
}

static __attribute__((noinline)) void set_up(const tables *made) {
    check(MENDED ? made->pml4[0] : made->pml4[1]);
    __asm__ volatile("");
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    set_up(made);
    pass();
}
