#include "firmware/firmware.h"

#include "text.h"
#include "trace/paging.h"

#define NAME_CHARS CONFIG_TEXT_BYTES
#define MOST_START 16u /* bytes with which a file to be replaced must begin */
#define MAX_FILE_BYTES (UINT64_C(1) << 30)
/* EFI_FILE_INFO ends with the file's name. */
#define INFO_BYTES (sizeof(EFI_FILE_INFO) + 512)

union file_info {
    EFI_FILE_INFO info;
    UINT8 bytes[INFO_BYTES];
};

static EFI_GUID file_info_guid = EFI_FILE_INFO_ID;

static void widen(const char *name, CHAR16 wide_ret[NAME_CHARS]) {
    size_t i = 0;
    while (name[i] != '\0' && i < NAME_CHARS - 1) {
        wide_ret[i] = (CHAR16)name[i];
        i++;
    }
    wide_ret[i] = L'\0';
}

static EFI_STATUS open(struct firmware *firmware, const char *name, UINT64 mode,
                       EFI_FILE_PROTOCOL **file_ret) {
    CHAR16 wide[NAME_CHARS];
    widen(name, wide);
    return firmware->volume->Open(firmware->volume, file_ret, wide, mode, 0);
}

static bool refuse(const char *name, const char *what, EFI_STATUS status, struct message *why) {
    message_start(why, name);
    message_text(why, what);
    message_text(why, ", status ");
    message_hex(why, status);
    return false;
}

static EFI_STATUS tell_info(EFI_FILE_PROTOCOL *file, union file_info *info_ret) {
    UINTN count = sizeof(*info_ret);
    return file->GetInfo(file, &file_info_guid, &count, info_ret);
}

static bool is_folder(const union file_info *info) {
    return (info->info.Attribute & EFI_FILE_DIRECTORY) != 0;
}

static bool read_open_file(struct firmware *firmware, EFI_FILE_PROTOCOL *file, const char *name,
                           struct file *file_ret, struct message *why) {
    union file_info info;
    uint64_t phys;
    EFI_STATUS status = tell_info(file, &info);
    if (EFI_ERROR(status)) {
        return refuse(name, ": the firmware does not tell its size", status, why);
    }
    if (is_folder(&info) || info.info.FileSize > MAX_FILE_BYTES) {
        return refuse(name, ": a folder, or larger than 1 GiB", EFI_UNSUPPORTED, why);
    }
    /* A page at least, so that an empty file has an address too. */
    uint64_t pages = info.info.FileSize / PAGE_BYTES + 1;
    if (!firmware_memory_allocate(firmware, name, pages, &phys, why)) {
        return false;
    }
    UINTN count = info.info.FileSize;
    status = file->Read(file, &count, (void *)phys);
    if (EFI_ERROR(status) || count != info.info.FileSize) {
        return refuse(name, ": cannot be read whole", status, why);
    }
    *file_ret = (struct file){(const void *)phys, count};
    return true;
}

enum firmware_file firmware_volume_read(struct firmware *firmware, const char *name,
                                        struct file *file_ret, struct message *why) {
    EFI_FILE_PROTOCOL *file;
    EFI_STATUS status = open(firmware, name, EFI_FILE_MODE_READ, &file);
    if (EFI_ERROR(status)) {
        (void)refuse(name, ": cannot be opened on the boot volume", status, why);
        return status == EFI_NOT_FOUND ? FIRMWARE_FILE_ABSENT : FIRMWARE_FILE_BAD;
    }
    bool read = read_open_file(firmware, file, name, file_ret, why);
    (void)file->Close(file);
    return read ? FIRMWARE_FILE_READ : FIRMWARE_FILE_BAD;
}

static bool begins_with(EFI_FILE_PROTOCOL *file, const char *start) {
    char found[MOST_START];
    UINTN count = text_length(start);
    union file_info info;
    if (EFI_ERROR(tell_info(file, &info)) || is_folder(&info)) {
        return false;
    }
    if (info.info.FileSize == 0) {
        return true;
    }
    return !EFI_ERROR(file->Read(file, &count, found)) && text_equals(found, count, start);
}

EFI_STATUS firmware_volume_write(struct firmware *firmware, const char *name, const char *start,
                                 const void *bytes, UINTN count) {
    EFI_FILE_PROTOCOL *file;
    UINT64 mode = EFI_FILE_MODE_READ | EFI_FILE_MODE_WRITE;
    if (!EFI_ERROR(open(firmware, name, mode, &file))) {
        if (!begins_with(file, start)) {
            (void)file->Close(file);
            return EFI_ACCESS_DENIED;
        }
        (void)file->Delete(file); /* else the rest of a longer one would show behind the new one */
    }
    EFI_STATUS status = open(firmware, name, mode | EFI_FILE_MODE_CREATE, &file);
    if (EFI_ERROR(status)) {
        return status;
    }
    UINTN written = count;
    status = file->Write(file, &written, (void *)(uintptr_t)bytes);
    EFI_STATUS closed = file->Close(file);
    if (!EFI_ERROR(status) && written != count) {
        return EFI_VOLUME_FULL;
    }
    return EFI_ERROR(status) ? status : closed;
}
