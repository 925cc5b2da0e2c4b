/* Switches with boot services alive and interrupts on, to tables that do not hold the IDT. */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    UINT8 *copy = large_page(system);
    struct __attribute__((packed)) {
        UINT16 limit;
        UINT64 base;
    } idtr;
    (void)image;
    __asm__ volatile("sidt %0" : "=m"(idtr));
    system->BootServices->CopyMem(copy, (void *)idtr.base, idtr.limit + 1u);
    idtr.base = (UINT64)copy;
    *directory_entry(made, copy) = 0;
    __asm__ volatile("lidt %0" ::"m"(idtr));
    if (MENDED) {
        __asm__ volatile("cli");
    }
    load_cr3((UINT64)made);
    for (UINTN i = 0; !MENDED || i < 1000; i++) {
        __asm__ volatile("pause");
    }
    pass();
}
