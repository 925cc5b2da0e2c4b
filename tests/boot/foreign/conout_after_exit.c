/* Prints by the firmware's console after ExitBootServices, when only the loader itself is mapped.
 */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    static CHAR16 words[] = {'h', 'i', 0};
    tables *made = identity_tables(system);
    UINT8 *stack = large_page(system) + LARGE_BYTES / 2;
    UINT64 code = *directory_entry(made, &efi_main);
    UINT64 next = *directory_entry(made, (UINT8 *)&efi_main + LARGE_BYTES);
    UINT64 own = *directory_entry(made, stack);
    exit_boot_services(image, system);
    for (UINTN i = 0; i < PAGE_DIRECTORIES * ENTRIES; i++) {
        made->directories[i] = 0;
    }
    *directory_entry(made, &efi_main) = code;
    *directory_entry(made, (UINT8 *)&efi_main + LARGE_BYTES) = next;
    *directory_entry(made, stack) = own;
    if (MENDED) {
        load_cr3((UINT64)made);
        pass();
    }
    /* As compiled code does it: the pointer from the system table, then the function; the old stack
     * is gone by then. */
    __asm__ volatile(
        "mov %0, %%cr3\n\tmov %1, %%rsp\n\tmov 0x40(%2), %%rcx\n\tcall *8(%%rcx)" ::"r"(made),
        "r"(stack), "r"(system), "d"(words)
        : "rcx", "memory");
    pass();
}
