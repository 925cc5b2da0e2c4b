/*
 * Turns on 5-level paging under the running firmware, which OVMF 2022.11 never does by itself. When
 * boot services end, that wakes the other CPUs with the boot CPU's CR4 and the CR3 of its own
 * start, and waits for them: so four levels are back for the length of the call.
 */
#include "chain.h"

#define PAGE_PRESENT_WRITABLE 3u
#define BELOW_4_GIB 0xffffffffu

void la57_switch(UINT64 root_phys) __attribute__((visibility("hidden")));

static EFI_EXIT_BOOT_SERVICES exit_boot_services;
static UINT64 four_levels, five_levels; /* CR3 */

static EFI_STATUS EFIAPI exit_with_four_levels(EFI_HANDLE image, UINTN key) {
    __asm__ volatile("cli");
    la57_switch(four_levels);
    EFI_STATUS status = exit_boot_services(image, key);
    __asm__ volatile("cli");
    la57_switch(five_levels);
    if (EFI_ERROR(status)) {
        __asm__ volatile("sti");
    }
    return status;
}

EFI_STATUS prepare_machine(EFI_SYSTEM_TABLE *system) {
    EFI_PHYSICAL_ADDRESS pml5 = BELOW_4_GIB;
    EFI_STATUS status =
        system->BootServices->AllocatePages(AllocateMaxAddress, EfiBootServicesData, 1, &pml5);
    if (EFI_ERROR(status)) {
        return status;
    }
    system->BootServices->SetMem((void *)pml5, 4096, 0);
    __asm__ volatile("mov %%cr3, %0" : "=r"(four_levels));
    five_levels = pml5;
    *(UINT64 *)pml5 = four_levels | PAGE_PRESENT_WRITABLE;
    __asm__ volatile("cli");
    la57_switch(five_levels);
    __asm__ volatile("sti");
    exit_boot_services = system->BootServices->ExitBootServices;
    system->BootServices->ExitBootServices = exit_with_four_levels;
    return EFI_SUCCESS;
}
