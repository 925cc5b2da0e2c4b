/* A CR4 of its own, without the firmware's OSFXSR: the first SSE instruction is refused. */
#include "foreign.h"

#define CR4_OSFXSR (UINT64_C(1) << 9)

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    UINT64 cr4;
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("mov %0, %%cr4" ::"r"(MENDED ? cr4 : cr4 & ~CR4_OSFXSR));
    __asm__ volatile(".byte 0x0f, 0x28, 0xc8"); /* movaps %xmm0, %xmm1 */
    pass();
}
