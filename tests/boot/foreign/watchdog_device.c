/* Arms QEMU's ib700 (the port of an iBASE 700 board) and never feeds it. */
#include "foreign.h"

#define WATCHDOG_START 0x443
#define WATCHDOG_STOP 0x441
#define IN_TWO_SECONDS 0xe

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    __asm__ volatile("outb %0, %1" ::"a"((UINT8)IN_TWO_SECONDS), "Nd"((UINT16)WATCHDOG_START));
    if (MENDED) {
        __asm__ volatile("outb %0, %1" ::"a"((UINT8)0), "Nd"((UINT16)WATCHDOG_STOP));
        pass();
    }
    wait_for_ever();
}
