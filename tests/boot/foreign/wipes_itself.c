/* Clears "free" memory that holds its own code. */
#include "wipes_itself.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    wipe(image, system, 0);
}
