/* Gives the firmware other page tables: its first 512 GiB in pages of 1 GiB, as firmware on a
 * machine with them may. */
#include "chain.h"

#define PRESENT_WRITABLE_LARGE 0x83u
#define PRESENT_WRITABLE 3u
#define ENTRIES 512u
#define BELOW_4_GIB 0xffffffffu
#define TABLES 2u

EFI_STATUS prepare_machine(EFI_SYSTEM_TABLE *system) {
    EFI_PHYSICAL_ADDRESS place = BELOW_4_GIB;
    EFI_STATUS status = system->BootServices->AllocatePages(AllocateMaxAddress, EfiBootServicesData,
                                                            TABLES, &place);
    if (EFI_ERROR(status)) {
        return status;
    }
    UINT64 *pml4 = (UINT64 *)place;
    UINT64 *pdpt = pml4 + ENTRIES;
    for (UINTN i = 0; i < ENTRIES; i++) {
        pml4[i] = 0;
        pdpt[i] = i << 30 | PRESENT_WRITABLE_LARGE;
    }
    pml4[0] = (UINT64)pdpt | PRESENT_WRITABLE;
    __asm__ volatile("mov %0, %%cr3" ::"r"(place) : "memory");
    return EFI_SUCCESS;
}
