/* Parks under the firmware's own tables, as loaders do that give up without a word. */
#include "../foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    exit_boot_services(image, system);
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}
