/* A gnu-efi loader: it leaves the firmware and goes to a kernel in tables of its own. */
#include <efi.h>

#define CR3SCOPE_IMPLEMENTATION
#define CR3SCOPE_SCREEN
#include "cr3scope.h"

#include "../efi_screen.h"
#include "../speaks.h"
#include "../tables.h"

#define STACK UINT64_C(0xffffff8000000000)
#define STACK_BYTES UINT64_C(16384)

static UINT8 stack[STACK_BYTES] __attribute__((aligned(4096)));
static UINT8 buffer[CR3SCOPE_BUFFER_BYTES];
static UINT8 memory_map[65536];

static void kernel(uint64_t magic) {
    speak_and_end("the kernel runs\r\n", magic == 42 ? PASSED : FAILED);
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);
EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    EFI_GUID protocol = {0x5b1b31a1, 0x9562, 0x11d2, {0x8e, 0x3f, 0, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};
    EFI_LOADED_IMAGE *loaded;
    UINTN bytes = sizeof(memory_map), key, size;
    UINT32 version;
    uint64_t root, base;
    if (system->BootServices->HandleProtocol(image, &protocol, (void **)&loaded) != EFI_SUCCESS) {
        return EFI_LOAD_ERROR;
    }
    struct cr3scope_framebuffer screen = efi_screen(system->BootServices);
    base = (uint64_t)loaded->ImageBase;
    next_table(0, &root);
    map(root, 0, base, base, loaded->ImageSize, PRESENT | WRITABLE);
    map(root, 0, STACK, (uint64_t)stack, STACK_BYTES, PRESENT | WRITABLE | NO_EXECUTE);
#ifdef MISTAKE
    map(root, 0, STACK + STACK_BYTES - PAGE, 0, PAGE, 0);
#endif
    if (system->BootServices->GetMemoryMap(&bytes, (void *)memory_map, &key, &size, &version) !=
            EFI_SUCCESS ||
        system->BootServices->ExitBootServices(image, key) != EFI_SUCCESS) {
        return EFI_ABORTED;
    }

    struct cr3scope_request request = {.root = root,
                                       .stack_top = STACK + STACK_BYTES,
                                       .entry = (uint64_t)kernel,
                                       .arguments = {42},
                                       CR3SCOPE_BUFFER(buffer),
                                       .framebuffer = screen,
                                       .flags = CR3SCOPE_SAFE_IDT};
    cr3scope_switch(&request);
    speak_and_end("the switch was refused\r\n", FAILED);
}
