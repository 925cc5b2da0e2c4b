#include "firmware/firmware.h"

#include "text.h"

#define TEXT_CHARS 256
/* One retry is what the specification asks for; a driver that changes the map twice gets a second
 * one. */
#define EXIT_ATTEMPTS 3u

static EFI_GUID loaded_image_guid = LOADED_IMAGE_PROTOCOL;
static EFI_GUID file_system_guid = SIMPLE_FILE_SYSTEM_PROTOCOL;

bool firmware_start(struct firmware *firmware, EFI_HANDLE image, EFI_SYSTEM_TABLE *system,
                    struct own_image *image_ret, struct message *why) {
    EFI_LOADED_IMAGE *loaded;
    EFI_FILE_IO_INTERFACE *file_system;
    firmware->image = image;
    firmware->system = system;
    firmware->services = system->BootServices;
    /* It would reset the machine five minutes after the start of a loader that waits. */
    (void)firmware->services->SetWatchdogTimer(0, 0, 0, NULL);
    if (EFI_ERROR(
            firmware->services->HandleProtocol(image, &loaded_image_guid, (void **)&loaded))) {
        message_start(why, "the firmware does not say where the loader was loaded");
        return false;
    }
    image_ret->base = (uint64_t)loaded->ImageBase;
    image_ret->bytes = loaded->ImageSize;
    if (EFI_ERROR(firmware->services->HandleProtocol(loaded->DeviceHandle, &file_system_guid,
                                                     (void **)&file_system)) ||
        EFI_ERROR(file_system->OpenVolume(file_system, &firmware->volume))) {
        message_start(why, "the boot volume has no file system that the firmware can read");
        return false;
    }
    return true;
}

/* The console and the trace may share a wire: a name out of a file must not look like a record. */
static CHAR16 shown(const char *text) {
    static const char sentinel[] = TRACE_SENTINEL;
    size_t alike = 0;
    while (sentinel[alike] != '\0' && text[alike] == sentinel[alike]) {
        alike++;
    }
    return sentinel[alike] == '\0' ? L'?' : (CHAR16)*text;
}

void firmware_tell(struct firmware *firmware, const char *line) {
    CHAR16 wide[TEXT_CHARS];
    size_t length = 0;
    while (length < TEXT_CHARS - 3 && line[length] != '\0') {
        wide[length] = shown(line + length);
        length++;
    }
    wide[length++] = L'\r';
    wide[length++] = L'\n';
    wide[length] = L'\0';
    if (firmware->system->ConOut != NULL) {
        (void)firmware->system->ConOut->OutputString(firmware->system->ConOut, wide);
    }
}

void firmware_trace(struct firmware *firmware, struct trace *trace, uint32_t cpu_count) {
    const CHAR16 *vendor = firmware->system->FirmwareVendor;
    char name[TEXT_CHARS / 4];
    size_t length = 0;
    while (vendor != NULL && vendor[length] != 0 && length < sizeof(name) - 1) {
        name[length] = vendor[length] >= ' ' && vendor[length] <= '~' ? (char)vendor[length] : '?';
        length++;
    }
    name[length] = '\0';
    trace_open(trace, "firmware");
    trace_text(trace, "vendor", name);
    trace_hex(trace, "revision", firmware->system->FirmwareRevision);
    trace_hex(trace, "uefi", firmware->system->Hdr.Revision);
    trace_hex(trace, "cpus", cpu_count);
    trace_close(trace);
}

EFI_STATUS firmware_exit(struct firmware *firmware, struct memory_map *map, UINTN capacity,
                         unsigned *attempts_ret) {
    void *buffer = (void *)(uintptr_t)map->descriptors;
    EFI_STATUS status = EFI_ABORTED;
    for (unsigned attempt = 1; attempt <= EXIT_ATTEMPTS; attempt++) {
        *attempts_ret = attempt;
        status = firmware_memory_map(firmware, buffer, capacity, map);
        if (EFI_ERROR(status)) {
            return status;
        }
        UINTN key = firmware->map_key - (firmware->misdeeds.stale_map_key ? 1 : 0);
        status = firmware->services->ExitBootServices(firmware->image, key);
        if (!EFI_ERROR(status) || firmware->misdeeds.stale_map_key) {
            return status;
        }
    }
    return status;
}

void firmware_release(struct firmware *firmware) {
    firmware_memory_release(firmware);
    if (firmware->volume != NULL) {
        (void)firmware->volume->Close(firmware->volume);
        firmware->volume = NULL;
    }
}
