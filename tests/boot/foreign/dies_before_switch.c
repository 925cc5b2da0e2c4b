/* Calls a service whose pointer is not there: before anything was switched. */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    EFI_BOOT_SERVICES services = *system->BootServices;
    if (!MENDED) {
        services.RaiseTPL = (EFI_RAISE_TPL)UINT64_C(0x123456789000);
    }
    services.RaiseTPL(TPL_NOTIFY);
    services.RestoreTPL(TPL_APPLICATION);
    exit_boot_services(image, system);
    pass();
}
