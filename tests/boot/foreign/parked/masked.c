/* Ends with hlt in a loop, interrupts on and every source of them masked; the loop is a function's
 * that is called. */
#include "../foreign.h"

static __attribute__((noinline)) void halt(void) {
    __asm__ volatile("hlt");
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    enable_masked_interrupts();
    for (;;) {
        halt();
    }
}
