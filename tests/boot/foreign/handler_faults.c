/* The firmware's IDT and handlers stay, but its memory is read-only: what handles the first
 * exception raises the next one, again and again. */
#include "foreign.h"

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    UINT8 *stack = large_page(system);
    struct __attribute__((packed)) {
        UINT16 limit;
        UINT64 base;
    } idtr;
    UINT64 handler;
    const UINT64 *gate;
    __asm__ volatile("sidt %0" : "=m"(idtr));
    gate = (const UINT64 *)idtr.base + 2 * 6; /* #UD */
    handler = (gate[0] & 0xffff) | (gate[0] >> 32 & 0xffff0000) | gate[1] << 32;
    exit_boot_services(image, system);
    if (!MENDED) {
        *directory_entry(made, (const void *)handler) &= ~UINT64_C(2);
    }
    load_cr3((UINT64)made);
    if (!MENDED) {
        __asm__ volatile("mov %0, %%rsp\n\tud2" ::"r"(stack + LARGE_BYTES) : "memory");
    }
    pass();
}
