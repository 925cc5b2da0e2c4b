/* Writes entries by two stores of 32 bits each, as code that came from PAE does: NX stands in the
 * upper one. */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    volatile UINT32 *entry = (volatile UINT32 *)&made->pml4[0];
    entry[1] = MENDED ? 0 : 0x80000000u;
    entry[0] = (UINT32)(UINT64)made->pdpt | PRESENT_WRITABLE;
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    pass();
}
