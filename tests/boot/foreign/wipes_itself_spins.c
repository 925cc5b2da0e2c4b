/* Writes data over its own code that happen to be a loop: jmp to itself. */
#include "wipes_itself.h"

#define JUMP_TO_ITSELF 0xfeebu

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    wipe(image, system, JUMP_TO_ITSELF);
}
