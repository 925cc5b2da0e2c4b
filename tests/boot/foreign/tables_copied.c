/* Makes a page directory in a buffer and copies it into place; what is wrong is wrong in the buffer
 * already. */
#include "foreign.h"

static UINT64 buffer[ENTRIES];

static __attribute__((noinline)) void copy(void *to, const void *from, UINTN bytes) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes)::"memory");
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    UINT8 *stack = large_page(system);
    UINT64 *entry = directory_entry(made, stack);
    UINT64 *directory = (UINT64 *)((UINT64)entry & ~(UINT64)(PAGE_BYTES - 1));
    for (UINTN i = 0; i < ENTRIES; i++) {
        buffer[i] = directory[i];
    }
    buffer[entry - directory] &= MENDED ? ~UINT64_C(0) : ~UINT64_C(2);
    copy(directory, buffer, sizeof(buffer));
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    pass_on_stack(stack + LARGE_BYTES);
}
