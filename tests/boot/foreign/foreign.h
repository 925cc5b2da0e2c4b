/*
 * What the small loaders of this folder share: memory, page tables that identity-map the first
 * 4 GiB, the switch. None of them uses trace/. Each makes one mistake, unless MENDED is 1.
 */
#pragma once

#include <efi.h>

#define PAGE_BYTES 4096u
#define ENTRIES 512u
#define LARGE_BYTES 0x200000u
#define PRESENT_WRITABLE 3u
#define LARGE 0x80u
#define NO_EXECUTE (UINT64_C(1) << 63)
#define PAGE_DIRECTORIES 4u /* one for each GiB */
#define BELOW_4_GIB 0xffffffffu
#define PIC_MASTER_DATA 0x21
#define PIC_SLAVE_DATA 0xa1
#define APIC_TIMER ((volatile UINT32 *)0xfee00320)
#define APIC_MASKED 0x10000u
#define DEBUG_EXIT 0xf4
#define DEBUG_EXIT_PASS 0x10

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);

/* The PML4, the PDPT and the page directories lie one behind the other. */
typedef struct {
    UINT64 pml4[ENTRIES];
    UINT64 pdpt[ENTRIES];
    UINT64 directories[PAGE_DIRECTORIES * ENTRIES];
} tables;

static inline void *zeroed_pages(EFI_SYSTEM_TABLE *system, UINTN bytes) {
    EFI_PHYSICAL_ADDRESS place = BELOW_4_GIB;
    if (EFI_ERROR(system->BootServices->AllocatePages(AllocateMaxAddress, EfiLoaderData,
                                                      bytes / PAGE_BYTES, &place))) {
        for (;;) {
            __asm__ volatile("hlt");
        }
    }
    system->BootServices->SetMem((void *)place, bytes, 0);
    return (void *)place;
}

/* Two MiB, aligned: one entry of a page directory rules over all of it, the next one over nothing.
 */
static inline UINT8 *large_page(EFI_SYSTEM_TABLE *system) {
    UINT64 place = (UINT64)zeroed_pages(system, 3 * LARGE_BYTES);
    return (UINT8 *)((place + LARGE_BYTES - 1) & ~(UINT64)(LARGE_BYTES - 1));
}

static inline tables *identity_tables(EFI_SYSTEM_TABLE *system) {
    tables *made = zeroed_pages(system, sizeof(*made));
    made->pml4[0] = (UINT64)made->pdpt | PRESENT_WRITABLE;
    for (UINTN i = 0; i < PAGE_DIRECTORIES; i++) {
        made->pdpt[i] = (UINT64)&made->directories[i * ENTRIES] | PRESENT_WRITABLE;
    }
    for (UINTN i = 0; i < PAGE_DIRECTORIES * ENTRIES; i++) {
        made->directories[i] = i * LARGE_BYTES | LARGE | PRESENT_WRITABLE;
    }
    return made;
}

static inline UINT64 *directory_entry(tables *made, const void *address) {
    return &made->directories[(UINT64)address / LARGE_BYTES];
}

static inline void exit_boot_services(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    static UINT8 map[16 * PAGE_BYTES];
    EFI_STATUS status;
    do {
        UINTN bytes = sizeof(map);
        UINTN key;
        UINTN descriptor_bytes;
        UINT32 version;
        system->BootServices->GetMemoryMap(&bytes, (EFI_MEMORY_DESCRIPTOR *)map, &key,
                                           &descriptor_bytes, &version);
        status = system->BootServices->ExitBootServices(image, key);
    } while (EFI_ERROR(status));
}

static inline void load_cr3(UINT64 value) {
    __asm__ volatile("mov %0, %%cr3" ::"r"(value) : "memory");
}

/* Interrupts on, and every source of them masked: the legacy controllers and the local APIC's
 * timer. */
static inline void enable_masked_interrupts(void) {
    __asm__ volatile("cli\n\toutb %0, %1\n\toutb %0, %2" ::"a"((UINT8)0xff), "Nd"(PIC_MASTER_DATA),
                     "Nd"(PIC_SLAVE_DATA));
    *APIC_TIMER = APIC_MASKED;
    __asm__ volatile("sti");
}

/* With interrupts as they are. */
static inline _Noreturn void wait_for_ever(void) {
    for (;;) {
        __asm__ volatile("pause");
    }
}

/* Ends QEMU by its isa-debug-exit device: the loader got as far as it should. */
static inline _Noreturn void pass(void) {
    __asm__ volatile("outl %0, %1" ::"a"(DEBUG_EXIT_PASS), "Nd"((UINT16)DEBUG_EXIT));
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

/* A new stack, one push and one pop, the end. */
static inline _Noreturn void pass_on_stack(UINT8 *top) {
    __asm__ volatile("mov %0, %%rsp\n\tpush %%rax\n\tpop %%rax" ::"r"(top) : "memory");
    pass();
}

static inline _Noreturn void jump(UINT64 target) {
    __asm__ volatile("jmp *%0" ::"r"(target) : "memory");
    __builtin_unreachable();
}

/* Code for a fresh page: mov $0x10, %al; out %al, $0xf4 (a byte is enough for isa-debug-exit). */
static inline void write_passing_code(UINT8 *place) {
    static const UINT8 code[] = {0xb0, DEBUG_EXIT_PASS, 0xe6, DEBUG_EXIT, 0xeb, 0xfe};
    for (UINTN i = 0; i < sizeof(code); i++) {
        ((volatile UINT8 *)place)[i] = code[i];
    }
}
