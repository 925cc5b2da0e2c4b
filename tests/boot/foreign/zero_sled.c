/* The kernel was never copied: the CPU runs through zeros (add %al, (%rax)) to the end of the page.
 */
#include "foreign.h"

#define SLED_BYTES 0x10000 // a whole large page takes seconds to translate

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    UINT8 *kernel = large_page(system) + LARGE_BYTES - SLED_BYTES;
    if (MENDED) {
        write_passing_code(kernel);
    }
    directory_entry(made, kernel)[1] = 0;
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    __asm__ volatile("jmp *%0" ::"r"(kernel), "a"(made->directories));
    __builtin_unreachable();
}
