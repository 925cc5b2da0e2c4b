#include "firmware/firmware.h"

/* EFI_MP_SERVICES_PROTOCOL (PI specification, volume 2, 13.4); gnu-efi does not declare it. */
struct processor_information;
struct mp_services {
    EFI_STATUS(EFIAPI *get_number_of_processors)
    (struct mp_services *self, UINTN *count_ret, UINTN *enabled_ret);
    EFI_STATUS(EFIAPI *get_processor_info)
    (struct mp_services *self, UINTN number, struct processor_information *information_ret);
};

/* EFI_PROCESSOR_INFORMATION (13.4.3), with room for what later editions add to it. */
#define PROCESSOR_IS_BOOT UINT32_C(1)
#define PROCESSOR_IS_USABLE UINT32_C(6) /* enabled, and healthy */
struct processor_information {
    UINT64 apic_id;
    UINT32 flags;
    UINT32 location[29];
};

static EFI_GUID mp_services_guid = {
    0x3fdda605, 0xa76e, 0x4f46, {0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08}};
static EFI_GUID acpi_2_guid = ACPI_20_TABLE_GUID;
static EFI_GUID acpi_1_guid = ACPI_TABLE_GUID;

/* NULL, or the service and how many CPUs it knows: at least one. */
static struct mp_services *mp_services(struct firmware *firmware, UINTN *count_ret) {
    struct mp_services *services;
    UINTN enabled;
    if (EFI_ERROR(
            firmware->services->LocateProtocol(&mp_services_guid, NULL, (void **)&services)) ||
        EFI_ERROR(services->get_number_of_processors(services, count_ret, &enabled)) ||
        *count_ret == 0) {
        return NULL;
    }
    return services;
}

uint32_t firmware_machine_cpu_count(struct firmware *firmware) {
    UINTN count;
    return mp_services(firmware, &count) == NULL ? 1 : (uint32_t)count;
}

uint32_t firmware_machine_apic_ids(struct firmware *firmware, uint32_t *ids_ret,
                                   uint32_t capacity) {
    UINTN count;
    struct mp_services *services = mp_services(firmware, &count);
    uint32_t others = 0;
    bool has_boot = false;
    for (UINTN number = 0; services != NULL && number < count && others + 1 < capacity; number++) {
        struct processor_information found;
        if (EFI_ERROR(services->get_processor_info(services, number, &found))) {
            continue;
        }
        if ((found.flags & PROCESSOR_IS_BOOT) != 0) {
            ids_ret[0] = (uint32_t)found.apic_id;
            has_boot = true;
        } else if ((found.flags & PROCESSOR_IS_USABLE) == PROCESSOR_IS_USABLE) {
            ids_ret[++others] = (uint32_t)found.apic_id;
        }
    }
    return has_boot ? others + 1 : 0;
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
