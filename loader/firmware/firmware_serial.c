#include "firmware/firmware.h"

/* EFI_SERIAL_IO_PROTOCOL (UEFI 2.10, 12.8): what gnu-efi declares of it differs between its
 * versions. */
struct serial_io {
    UINT32 revision;
    void *reset, *set_attributes, *set_control, *get_control;
    EFI_STATUS(EFIAPI *write)(struct serial_io *self, UINTN *bytes, const void *buffer);
};

#define MOST_TIMEOUTS 3u /* in a row, and nothing more is written: each may take a second */

static EFI_GUID serial_io_guid = {
    0xbb25cf6f, 0xf1d4, 0x11d2, {0x9a, 0x0c, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0xfd}};

bool firmware_serial_find(struct firmware *firmware) {
    void *found = NULL;
    if (EFI_ERROR(firmware->services->LocateProtocol(&serial_io_guid, NULL, &found))) {
        return false;
    }
    firmware->serial = found;
    return found != NULL;
}

void firmware_serial_write(void *context, const char *bytes, size_t count) {
    struct firmware *firmware = context;
    unsigned timeouts = 0;
    while (count > 0 && firmware->serial != NULL) {
        struct serial_io *serial = firmware->serial;
        UINTN written = count;
        EFI_STATUS status = serial->write(serial, &written, bytes);
        if (written > count || (EFI_ERROR(status) && status != EFI_TIMEOUT)) {
            firmware->serial = NULL;
            return;
        }
        bytes += written;
        count -= written;
        timeouts = written != 0 ? 0 : timeouts + 1;
        if (timeouts == MOST_TIMEOUTS) {
            firmware->serial = NULL;
        }
    }
}
