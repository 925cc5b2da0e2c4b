/* The second CPU, started by the firmware's MP services, loads tables that map nothing. */
#include "../foreign.h"

#define FIRST_AP 1u

typedef void(EFIAPI *ap_procedure)(void *argument);

/* PI specification 1.7, volume 2, 13.4: the members up to the one that is called. */
typedef struct mp_services {
    void *get_number_of_processors;
    void *get_processor_info;
    void *startup_all_aps;
    EFI_STATUS(EFIAPI *startup_this_ap)
    (struct mp_services *self, ap_procedure procedure, UINTN processor, EFI_EVENT done,
     UINTN microseconds, void *argument, BOOLEAN *finished);
} mp_services;

static void EFIAPI load_tables(void *argument) {
    load_cr3((UINT64)argument);
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    EFI_GUID guid = {0x3fdda605, 0xa76e, 0x4f46, {0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08}};
    tables *made = identity_tables(system);
    mp_services *services;
    (void)image;
    if (!MENDED) {
        made->pml4[0] = 0;
    }
    if (EFI_ERROR(system->BootServices->LocateProtocol(&guid, NULL, (void **)&services)) ||
        EFI_ERROR(
            services->startup_this_ap(services, load_tables, FIRST_AP, NULL, 0, made, NULL))) {
        return EFI_UNSUPPORTED;
    }
    pass();
}
