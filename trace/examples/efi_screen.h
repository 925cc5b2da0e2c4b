/* The frame buffer of UEFI's graphics output protocol, as the library wants it: of no width where
 * there is none. By offsets, so that it needs no header of UEFI's (UEFI 2.10, 4.4 and 12.9). */
#include "cr3scope.h"

#define LOCATE_PROTOCOL 320 /* of the boot services */
#define MODE 24             /* of the protocol */
#define MODE_INFO 8
#define MODE_FRAME_BUFFER 24
#define PIXELS_BY_BLT_ONLY 3

struct efi_screen_info {
    uint32_t version, width, height, format, masks[4], pixels_a_line;
};

static struct cr3scope_framebuffer efi_screen(void *boot_services) {
    static uint32_t guid[] = {0x9042a9de, 0x4a3823dc, 0xde7afb96, 0x6a5180d0};
    uint64_t(__attribute__((ms_abi)) * locate)(void *guid, void *key, void *found_ret);
    struct cr3scope_framebuffer screen = {0, 0, 0, 0, 32};
    uint8_t *protocol;
    __builtin_memcpy(&locate, (uint8_t *)boot_services + LOCATE_PROTOCOL, sizeof(locate));
    if (locate(guid, 0, &protocol) == 0) {
        uint8_t *mode = *(uint8_t **)(protocol + MODE);
        struct efi_screen_info *info = *(struct efi_screen_info **)(mode + MODE_INFO);
        screen.virt =
            info->format < PIXELS_BY_BLT_ONLY ? *(uint64_t *)(mode + MODE_FRAME_BUFFER) : 0;
        screen.width = info->width;
        screen.height = info->height;
        screen.pitch = info->pixels_a_line * 4;
    }
    return screen;
}
