/* Fills "free" memory that holds the code which it comes back to. In assembly: each compiler makes
 * the same mistake. */
#pragma once

#include "foreign.h"

#define NOWHERE "0x123456789000" /* an address that is not mapped */

/* RDI: first byte, RSI: how many words, DX: what each becomes. Comes back with RAX = NOWHERE, so
 * that zeros do not run far. */
static void __attribute__((naked, used, aligned(PAGE_BYTES))) fill(void) {
    __asm__("1: movw %dx, (%rdi)\n\t"
            "add $2, %rdi\n\t"
            "dec %rsi\n\t"
            "jnz 1b\n\t"
            "movabs $" NOWHERE ", %rax\n\t"
            "ret");
}

/* On a page of its own, which is what may be filled. */
static void __attribute__((naked, used, aligned(PAGE_BYTES))) fill_and_come_back(void) {
    __asm__("nop\n\t" /* an even address to come back to */
            "call fill\n\t"
            "ret\n\t"
            ".balign 4096");
}

static inline void fill_page(void *first, UINT16 word) {
    UINTN words = PAGE_BYTES / sizeof(word);
    __asm__ volatile("call fill_and_come_back"
                     : "+D"(first), "+S"(words)
                     : "d"((UINTN)word)
                     : "rax", "memory", "cc");
}

static inline _Noreturn void wipe(EFI_HANDLE image, EFI_SYSTEM_TABLE *system, UINT16 word) {
    tables *made = identity_tables(system);
    UINT8 *elsewhere = large_page(system);
    exit_boot_services(image, system);
    load_cr3((UINT64)made);
    fill_page(MENDED ? elsewhere : (UINT8 *)&fill_and_come_back, word);
    pass();
}
