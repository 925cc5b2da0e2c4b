/* Wakes a second CPU, which dies in real mode of an exception; the first one is well and waits. */
#include "foreign.h"

#define APIC_ICR ((volatile UINT32 *)0xfee00300)
#define ALL_BUT_SELF_INIT 0xc4500u
#define ALL_BUT_SELF_STARTUP 0xc4600u
#define REAL_MODE_PAGE 0x8000u
#define AP_ALIVE_PORT 0xf4

/* cli; lidt cs:[20h], where there are zeros; ud2. An IDT of no length can deliver no exception. */
static const UINT8 dying[] = {0xfa, 0x2e, 0x0f, 0x01, 0x1e, 0x20, 0x00, 0x0f, 0x0b};
static const UINT8 passing[] = {0xb0, DEBUG_EXIT_PASS, 0xe6, AP_ALIVE_PORT, 0xeb, 0xfe};

static void wait(void) {
    for (volatile UINT64 count = 0; count < 20000000; count++) {
    }
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    tables *made = identity_tables(system);
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    volatile UINT8 *place = (volatile UINT8 *)(UINT64)REAL_MODE_PAGE;
    for (UINTN i = 0; i < 64; i++) {
        place[i] = 0;
    }
    const UINT8 *code = MENDED ? passing : dying;
    for (UINTN i = 0; i < (MENDED ? sizeof(passing) : sizeof(dying)); i++) {
        place[i] = code[i];
    }
    *APIC_ICR = ALL_BUT_SELF_INIT;
    wait();
    *APIC_ICR = ALL_BUT_SELF_STARTUP | REAL_MODE_PAGE >> 12;
    wait_for_ever();
}
