/*
 * Turns on 5-level paging under the running firmware, then starts \EFI\cr3scope\loader.efi: so that the reference
 * boot runs with LA57, which OVMF 2022.11 never turns on by itself.
 */
#include <efi.h>

#define PAGE_PRESENT_WRITABLE 3u
#define BELOW_4_GIB 0xffffffffu

static EFI_GUID loaded_image_guid = LOADED_IMAGE_PROTOCOL;
static EFI_GUID device_path_guid = DEVICE_PATH_PROTOCOL;

void la57_switch(UINT64 pml5_phys) __attribute__((visibility("hidden")));
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);

/* The boot volume's path with a file's node and an end node behind it. */
static EFI_STATUS path_of_loader(EFI_BOOT_SERVICES *services, EFI_HANDLE device,
                                 EFI_DEVICE_PATH **path_ret) {
    static const CHAR16 name[] = L"\\EFI\\cr3scope\\loader.efi";
    UINT8 *volume;
    UINT8 *path;
    UINTN bytes = 0;
    EFI_STATUS status = services->HandleProtocol(device, &device_path_guid, (void **)&volume);
    if (EFI_ERROR(status)) {
        return status;
    }
    while (volume[bytes] != 0x7f) {
        bytes += volume[bytes + 2] | (UINTN)volume[bytes + 3] << 8;
    }
    UINTN node = 4 + sizeof(name);
    status = services->AllocatePool(EfiLoaderData, bytes + node + 4, (void **)&path);
    if (EFI_ERROR(status)) {
        return status;
    }
    services->CopyMem(path, volume, bytes);
    const UINT8 head[4] = {4, 4, (UINT8)node, 0}; /* media device path, file path */
    const UINT8 end[4] = {0x7f, 0xff, 4, 0};
    services->CopyMem(path + bytes, (void *)head, sizeof(head));
    services->CopyMem(path + bytes + 4, (void *)name, sizeof(name));
    services->CopyMem(path + bytes + node, (void *)end, sizeof(end));
    *path_ret = (EFI_DEVICE_PATH *)path;
    return EFI_SUCCESS;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    EFI_BOOT_SERVICES *services = system->BootServices;
    EFI_LOADED_IMAGE *self;
    EFI_DEVICE_PATH *path;
    EFI_HANDLE loader;
    EFI_PHYSICAL_ADDRESS pml5 = BELOW_4_GIB;
    UINT64 cr3;
    EFI_STATUS status = services->HandleProtocol(image, &loaded_image_guid, (void **)&self);
    if (!EFI_ERROR(status)) {
        status = path_of_loader(services, self->DeviceHandle, &path);
    }
    if (!EFI_ERROR(status)) {
        status = services->AllocatePages(AllocateMaxAddress, EfiBootServicesData, 1, &pml5);
    }
    if (EFI_ERROR(status)) {
        return status;
    }
    services->SetMem((void *)pml5, 4096, 0);
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    *(UINT64 *)pml5 = cr3 | PAGE_PRESENT_WRITABLE;
    __asm__ volatile("cli");
    la57_switch(pml5);
    __asm__ volatile("sti");
    status = services->LoadImage(FALSE, image, path, NULL, 0, &loader);
    return EFI_ERROR(status) ? status : services->StartImage(loader, NULL, NULL);
}
