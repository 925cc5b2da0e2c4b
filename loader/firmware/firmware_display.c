#include "firmware/firmware.h"

/* 0x181825: red 18h, green 18h, blue 25h. */
#define CLEAR_RED 0x18
#define CLEAR_GREEN 0x18
#define CLEAR_BLUE 0x25
#define PIXEL_BYTES 4u
/* Ten minutes. */
#define WAIT_STEPS 6000u
#define WAIT_STEP_MICROSECONDS 100000u

static EFI_GUID graphics_guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;

static EFI_GRAPHICS_OUTPUT_PROTOCOL *graphics_of(struct firmware *firmware) {
    EFI_GRAPHICS_OUTPUT_PROTOCOL *graphics;
    if (EFI_ERROR(firmware->services->LocateProtocol(&graphics_guid, NULL, (void **)&graphics)) ||
        graphics->Mode == NULL || graphics->Mode->Info == NULL) {
        return NULL;
    }
    return graphics;
}

void firmware_display_clear(struct firmware *firmware) {
    EFI_GRAPHICS_OUTPUT_PROTOCOL *graphics = graphics_of(firmware);
    if (graphics == NULL) {
        return;
    }
    const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode = graphics->Mode->Info;
    EFI_GRAPHICS_OUTPUT_BLT_PIXEL colour = {CLEAR_BLUE, CLEAR_GREEN, CLEAR_RED, 0};
    (void)graphics->Blt(graphics, &colour, EfiBltVideoFill, 0, 0, 0, 0, mode->HorizontalResolution,
                        mode->VerticalResolution, 0);
}

void firmware_display_wait(struct firmware *firmware) {
    EFI_INPUT_KEY key;
    SIMPLE_INPUT_INTERFACE *keys = firmware->system->ConIn;
    for (unsigned i = 0; i < WAIT_STEPS; i++) {
        if (keys == NULL || !EFI_ERROR(keys->ReadKeyStroke(keys, &key))) {
            return;
        }
        (void)firmware->services->Stall(WAIT_STEP_MICROSECONDS);
    }
}

void firmware_display_find(struct firmware *firmware, struct handoff_framebuffer *framebuffer_ret) {
    EFI_GRAPHICS_OUTPUT_PROTOCOL *graphics = graphics_of(firmware);
    *framebuffer_ret = (struct handoff_framebuffer){.format = HANDOFF_PIXEL_NONE};
    if (graphics == NULL) {
        return;
    }
    const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *mode = graphics->Mode->Info;
    if (mode->PixelFormat != PixelBlueGreenRedReserved8BitPerColor &&
        mode->PixelFormat != PixelRedGreenBlueReserved8BitPerColor) {
        return;
    }
    framebuffer_ret->range.phys = graphics->Mode->FrameBufferBase;
    framebuffer_ret->range.bytes =
        (uint64_t)mode->PixelsPerScanLine * mode->VerticalResolution * PIXEL_BYTES;
    framebuffer_ret->width = mode->HorizontalResolution;
    framebuffer_ret->height = mode->VerticalResolution;
    framebuffer_ret->pixels_per_line = mode->PixelsPerScanLine;
    framebuffer_ret->format = mode->PixelFormat == PixelBlueGreenRedReserved8BitPerColor
                                  ? HANDOFF_PIXEL_BGRX
                                  : HANDOFF_PIXEL_RGBX;
}
