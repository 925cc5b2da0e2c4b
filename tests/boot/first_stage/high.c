/* Takes the memory below 4 GiB, so that the firmware loads what comes next above it, as some do by
 * themselves. */
#include "chain.h"

#define BELOW_4_GIB 0xffffffffu
#define FIRST_PAGES 0x80000u /* 2 GiB */
#define LEFT_PAGES                                                                                 \
    0x10u /* for the firmware, which looks below 4 GiB first: too few for an image                 \
           */

static void take_all(EFI_BOOT_SERVICES *services, EFI_MEMORY_TYPE type) {
    for (UINTN pages = FIRST_PAGES; pages > 0; pages /= 2) {
        EFI_PHYSICAL_ADDRESS taken;
        do {
            taken = BELOW_4_GIB;
        } while (!EFI_ERROR(services->AllocatePages(AllocateMaxAddress, type, pages, &taken)));
    }
}

EFI_STATUS prepare_machine(EFI_SYSTEM_TABLE *system) {
    EFI_BOOT_SERVICES *services = system->BootServices;
    EFI_PHYSICAL_ADDRESS left = BELOW_4_GIB;
    EFI_STATUS status =
        services->AllocatePages(AllocateMaxAddress, EfiBootServicesData, LEFT_PAGES, &left);
    if (EFI_ERROR(status)) {
        return status;
    }
    take_all(services, EfiLoaderCode); /* which has memory set aside for it */
    return services->FreePages(left, LEFT_PAGES);
}
