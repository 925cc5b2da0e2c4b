#include "firmware/firmware.h"

/* EFI_MP_SERVICES_PROTOCOL (PI specification, volume 2, 13.4); gnu-efi does not declare it. */
struct mp_services {
    EFI_STATUS(EFIAPI *get_number_of_processors)
    (struct mp_services *self, UINTN *count_ret, UINTN *enabled_ret);
};

static EFI_GUID mp_services_guid = {
    0x3fdda605, 0xa76e, 0x4f46, {0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08}};
static EFI_GUID acpi_2_guid = ACPI_20_TABLE_GUID;
static EFI_GUID acpi_1_guid = ACPI_TABLE_GUID;

uint32_t firmware_machine_cpu_count(struct firmware *firmware) {
    struct mp_services *services;
    UINTN count;
    UINTN enabled;
    if (EFI_ERROR(
            firmware->services->LocateProtocol(&mp_services_guid, NULL, (void **)&services)) ||
        EFI_ERROR(services->get_number_of_processors(services, &count, &enabled)) || count == 0) {
        return 1;
    }
    return (uint32_t)count;
}

static bool same_guid(const EFI_GUID *left, const EFI_GUID *right) {
    const UINT8 *a = (const UINT8 *)left;
    const UINT8 *b = (const UINT8 *)right;
    for (size_t i = 0; i < sizeof(*left); i++) {
        if (a[i] != b[i]) {
            return false;
        }
    }
    return true;
}

uint64_t firmware_machine_rsdp(struct firmware *firmware) {
    uint64_t found = 0;
    for (UINTN i = 0; i < firmware->system->NumberOfTableEntries; i++) {
        EFI_CONFIGURATION_TABLE *table = &firmware->system->ConfigurationTable[i];
        if (same_guid(&table->VendorGuid, &acpi_2_guid)) {
            return (uint64_t)table->VendorTable;
        }
        if (same_guid(&table->VendorGuid, &acpi_1_guid)) {
            found = (uint64_t)table->VendorTable;
        }
    }
    return found;
}
