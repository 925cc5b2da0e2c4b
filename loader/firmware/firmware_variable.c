#include "firmware/firmware.h"

/* What one boot leaves for the next one: a UEFI variable, and memory that a warm reset spares. */
static EFI_GUID own_guid = {
    0x6f1e9a52, 0x4c0d, 0x4b8b, {0x9e, 0x31, 0x5d, 0x0a, 0x77, 0x21, 0xc3, 0x53}};
static CHAR16 name[] = L"Cr3scopeLast";

#define ATTRIBUTES                                                                                 \
    (EFI_VARIABLE_NON_VOLATILE | EFI_VARIABLE_BOOTSERVICE_ACCESS | EFI_VARIABLE_RUNTIME_ACCESS)

size_t firmware_variable_read(struct firmware *firmware, void *bytes_ret, size_t size) {
    UINTN count = size;
    UINT32 attributes;
    EFI_STATUS status = firmware->system->RuntimeServices->GetVariable(name, &own_guid, &attributes,
                                                                       &count, bytes_ret);
    return EFI_ERROR(status) ? 0 : count;
}

EFI_STATUS firmware_variable_write(struct firmware *firmware, const void *bytes, size_t count) {
    return firmware->system->RuntimeServices->SetVariable(name, &own_guid, ATTRIBUTES, count,
                                                          (void *)(uintptr_t)bytes);
}

uint64_t firmware_variable_pages(struct firmware *firmware, size_t pages) {
    EFI_PHYSICAL_ADDRESS phys = FIRMWARE_KEPT_BELOW - 1;
    EFI_STATUS status =
        firmware->services->AllocatePages(AllocateMaxAddress, EfiReservedMemoryType, pages, &phys);
    return EFI_ERROR(status) ? 0 : phys;
}
