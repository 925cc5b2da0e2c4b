/* Follows a pointer in memory that nobody has set: what edk2 fills it with is not canonical. */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    UINT64 **list = zeroed_pages(system, PAGE_BYTES);
    list[0] = MENDED ? made->pml4 : (UINT64 *)UINT64_C(0xafafafafafafafaf);
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    __asm__ volatile("mov (%0), %%rax" ::"r"(list[0]) : "rax");
    pass();
}
