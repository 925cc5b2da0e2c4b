/* Moves what a debugger begins with to find the loaded images (UEFI specification, 18.4): the
   pointer to the system table lies on the lowest boundary of 4 MiB that is free. */
#include "chain.h"

#define BOUNDARY (UINT64_C(4) << 20)
#define SIGNATURE UINT64_C(0x5453595320494249) /* IBI SYST */

typedef struct {
    UINT64 signature;
    EFI_PHYSICAL_ADDRESS system;
    UINT32 sum;
} system_table_pointer;

static system_table_pointer *pointer_of(EFI_SYSTEM_TABLE *system) {
    for (UINT64 at = BOUNDARY; at < UINT64_C(1) << 32; at += BOUNDARY) {
        system_table_pointer *here = (system_table_pointer *)at;
        if (here->signature == SIGNATURE && here->system == (EFI_PHYSICAL_ADDRESS)system) {
            return here;
        }
    }
    return NULL;
}

static EFI_STATUS move_pointer(EFI_SYSTEM_TABLE *system) {
    system_table_pointer *old = pointer_of(system);
    EFI_PHYSICAL_ADDRESS place = 0;
    EFI_STATUS status = old == NULL ? EFI_NOT_FOUND : EFI_OUT_OF_RESOURCES;
    while (EFI_ERROR(status) && old != NULL && (place += BOUNDARY) < (EFI_PHYSICAL_ADDRESS)old) {
        status =
            system->BootServices->AllocatePages(AllocateAddress, EfiBootServicesData, 1, &place);
    }
    if (!EFI_ERROR(status)) {
        system->BootServices->CopyMem((void *)place, old, sizeof(*old));
        system->BootServices->SetMem(old, sizeof(*old), 0);
    }
    return status;
}

EFI_STATUS prepare_machine(EFI_SYSTEM_TABLE *system) {
    return move_pointer(system);
}
