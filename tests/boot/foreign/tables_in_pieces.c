/* Maps one piece after the other by a function of its own, as most loaders do; the piece of the
 * stack without R/W. */
#include "foreign.h"

static __attribute__((noinline)) void map_piece(tables *made, const UINT8 *first, UINT64 flags) {
    *directory_entry(made, first) = (UINT64)first | LARGE | flags;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    UINT8 *data = large_page(system);
    UINT8 *stack = large_page(system);
    map_piece(made, data, PRESENT_WRITABLE);
    map_piece(made, stack, MENDED ? PRESENT_WRITABLE : 1);
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    pass_on_stack(stack + LARGE_BYTES);
}
