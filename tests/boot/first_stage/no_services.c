/*
 * Hides what a poor firmware lacks, EFI_MP_SERVICES and the graphics output protocol:
 * LocateProtocol says of them that there are none. (To uninstall them would disconnect the
 * firmware's own console.)
 */
#include "chain.h"

static EFI_GUID hidden[] = {
    {0x3fdda605, 0xa76e, 0x4f46, {0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08}},
    EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID,
};
static EFI_LOCATE_PROTOCOL locate_protocol;

static EFI_STATUS EFIAPI locate_unless_hidden(EFI_GUID *guid, void *registration,
                                              void **interface_ret) {
    for (UINTN i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++) {
        const UINT64 *wanted = (const UINT64 *)guid;
        const UINT64 *one = (const UINT64 *)&hidden[i];
        if (wanted[0] == one[0] && wanted[1] == one[1]) {
            return EFI_NOT_FOUND;
        }
    }
    return locate_protocol(guid, registration, interface_ret);
}

EFI_STATUS prepare_machine(EFI_SYSTEM_TABLE *system) {
    locate_protocol = system->BootServices->LocateProtocol;
    system->BootServices->LocateProtocol = locate_unless_hidden;
    return EFI_SUCCESS;
}
