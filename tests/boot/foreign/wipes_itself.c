/* Clears "free" memory that holds its own code. */
#include "foreign.h"

static __attribute__((noinline)) void clear(volatile UINT8 *first, UINTN count) {
    for (UINTN i = 0; i < count; i++) {
        first[i] = 0;
    }
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    UINT8 *elsewhere = large_page(system);
    UINT8 *own; /* some bytes before the function that clears */
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    __asm__ volatile("lea %c1(%2), %0" : "=r"(own) : "i"(-64), "r"(clear));
    clear(MENDED ? elsewhere : own, PAGE_BYTES);
    pass();
}
