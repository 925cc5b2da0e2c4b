/* Starts \EFI\cr3scope\loader.efi after prepare_machine() and prepare_image(), of which a first
 * stage has one. */
#include "chain.h"

#define NODE_END 0x7f
#define NODE_MEDIA 4
#define NODE_FILE_PATH 4
#define NODE_HEAD_BYTES 4

static EFI_GUID loaded_image_guid = LOADED_IMAGE_PROTOCOL;
static EFI_GUID device_path_guid = DEVICE_PATH_PROTOCOL;

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);

EFI_STATUS __attribute__((weak)) prepare_machine(EFI_SYSTEM_TABLE *system) {
    (void)system;
    return EFI_SUCCESS;
}

EFI_STATUS __attribute__((weak)) prepare_image(EFI_SYSTEM_TABLE *system, EFI_HANDLE loader) {
    (void)system;
    (void)loader;
    return EFI_SUCCESS;
}

/* The boot volume's path with the file's node and an end node behind it (UEFI specification, 10.3).
 */
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
    while (volume[bytes] != NODE_END) {
        bytes += volume[bytes + 2] | (UINTN)volume[bytes + 3] << 8;
    }
    UINTN node = NODE_HEAD_BYTES + sizeof(name);
    status = services->AllocatePool(EfiLoaderData, bytes + node + NODE_HEAD_BYTES, (void **)&path);
    if (EFI_ERROR(status)) {
        return status;
    }
    const UINT8 head[NODE_HEAD_BYTES] = {NODE_MEDIA, NODE_FILE_PATH, (UINT8)node, 0};
    const UINT8 end[NODE_HEAD_BYTES] = {NODE_END, 0xff, NODE_HEAD_BYTES, 0};
    services->CopyMem(path, volume, bytes);
    services->CopyMem(path + bytes, (void *)head, sizeof(head));
    services->CopyMem(path + bytes + sizeof(head), (void *)name, sizeof(name));
    services->CopyMem(path + bytes + node, (void *)end, sizeof(end));
    *path_ret = (EFI_DEVICE_PATH *)path;
    return EFI_SUCCESS;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    EFI_BOOT_SERVICES *services = system->BootServices;
    EFI_LOADED_IMAGE *self;
    EFI_DEVICE_PATH *path;
    EFI_HANDLE loader;
    EFI_STATUS status = services->HandleProtocol(image, &loaded_image_guid, (void **)&self);
    if (!EFI_ERROR(status)) {
        status = path_of_loader(services, self->DeviceHandle, &path);
    }
    if (!EFI_ERROR(status)) {
        status = prepare_machine(system);
    }
    if (!EFI_ERROR(status)) {
        status = services->LoadImage(FALSE, image, path, NULL, 0, &loader);
    }
    if (!EFI_ERROR(status)) {
        status = prepare_image(system, loader);
    }
    return EFI_ERROR(status) ? status : services->StartImage(loader, NULL, NULL);
}
