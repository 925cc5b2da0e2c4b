/* Takes the firmware's own tables over in a new top table, and writes to one of them: the firmware
 * has them read-only. */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    UINT64 *top = zeroed_pages(system, PAGE_BYTES);
    UINT64 *old;
    __asm__ volatile("mov %%cr3, %0" : "=r"(old));
    old = (UINT64 *)((UINT64)old & ~(UINT64)(PAGE_BYTES - 1));
    for (UINTN i = 0; i < ENTRIES; i++) {
        top[i] = old[i];
    }
    exit_boot_services(image, system);
    load_cr3((UINT64)top);
    if (!MENDED) {
        *(volatile UINT64 *)old = top[0];
    }
    pass();
}
