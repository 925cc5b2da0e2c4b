/* Turns on 5-level paging under the running firmware, which OVMF 2022.11 never does by itself. */
#include "chain.h"

#define PAGE_PRESENT_WRITABLE 3u
#define BELOW_4_GIB 0xffffffffu

void la57_switch(UINT64 pml5_phys) __attribute__((visibility("hidden")));

EFI_STATUS prepare_machine(EFI_SYSTEM_TABLE *system) {
    EFI_PHYSICAL_ADDRESS pml5 = BELOW_4_GIB;
    UINT64 cr3;
    EFI_STATUS status =
        system->BootServices->AllocatePages(AllocateMaxAddress, EfiBootServicesData, 1, &pml5);
    if (EFI_ERROR(status)) {
        return status;
    }
    system->BootServices->SetMem((void *)pml5, 4096, 0);
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    *(UINT64 *)pml5 = cr3 | PAGE_PRESENT_WRITABLE;
    __asm__ volatile("cli");
    la57_switch(pml5);
    __asm__ volatile("sti");
    return EFI_SUCCESS;
}
