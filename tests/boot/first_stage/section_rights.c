/*
 * Firmware that honours the rights of an image's sections and lets no code run on the stack: gives
 * itself tables in which the loader's image has just these rights, page by page, and the memory
 * around the stack pointer has NX.
 */
#include "chain.h"

#define PAGE_BYTES UINT64_C(4096)
#define ENTRIES 512u
#define PRESENT 1u
#define WRITABLE 2u
#define LARGE 0x80u
#define NO_EXECUTE (UINT64_C(1) << 63)
#define FRAME UINT64_C(0x000ffffffffff000)
#define BELOW_4_GIB 0xffffffffu
#define STACK_BYTES 0x8000u
/* Microsoft, PE Format. */
#define NEW_HEADER_AT 0x3c
#define SECTION_COUNT_AT 6
#define OPTIONAL_SIZE_AT 20
#define OPTIONAL_AT 24
#define SECTION_EXECUTES 0x20000000u
#define SECTION_WRITES 0x80000000u

typedef struct {
    char name[8];
    UINT32 bytes, offset, raw[4], counts, flags;
} section;

static EFI_GUID loaded_image_guid = LOADED_IMAGE_PROTOCOL;

static UINT64 *new_table(EFI_SYSTEM_TABLE *system) {
    EFI_PHYSICAL_ADDRESS place = BELOW_4_GIB;
    if (EFI_ERROR(system->BootServices->AllocatePages(AllocateMaxAddress, EfiBootServicesData, 1,
                                                      &place))) {
        return NULL;
    }
    system->BootServices->SetMem((void *)place, PAGE_BYTES, 0);
    return (UINT64 *)place;
}

/* The entry of the page of 4 KiB at the address; larger pages on the way are split. NULL: no
 * memory. */
static UINT64 *page_entry(EFI_SYSTEM_TABLE *system, UINT64 *root, UINT64 address) {
    UINT64 *entry = &root[address >> 39 & (ENTRIES - 1)];
    for (unsigned shift = 30; shift >= 12; shift -= 9) {
        if (*entry & LARGE) {
            UINT64 *table = new_table(system);
            UINT64 page = shift > 12 ? LARGE : 0;
            if (table == NULL) {
                return NULL;
            }
            for (UINT64 i = 0; i < ENTRIES; i++) {
                table[i] = ((*entry & FRAME) + (i << shift)) | PRESENT | WRITABLE | page;
            }
            *entry = (UINT64)table | PRESENT | WRITABLE;
        }
        entry = (UINT64 *)(*entry & FRAME) + (address >> shift & (ENTRIES - 1));
    }
    return entry;
}

static EFI_STATUS give(EFI_SYSTEM_TABLE *system, UINT64 *root, UINT64 first, UINT64 end,
                       UINT64 rights) {
    for (UINT64 at = first & ~(PAGE_BYTES - 1); at < end; at += PAGE_BYTES) {
        UINT64 *entry = page_entry(system, root, at);
        if (entry == NULL) {
            return EFI_OUT_OF_RESOURCES;
        }
        *entry = (at & FRAME) | PRESENT | rights;
    }
    return EFI_SUCCESS;
}

static EFI_STATUS give_sections(EFI_SYSTEM_TABLE *system, UINT64 *root, const UINT8 *image) {
    const UINT8 *header = image + *(const UINT32 *)(image + NEW_HEADER_AT);
    const section *each =
        (const section *)(header + OPTIONAL_AT + *(const UINT16 *)(header + OPTIONAL_SIZE_AT));
    EFI_STATUS status = give(system, root, (UINT64)image, (UINT64)image + PAGE_BYTES, NO_EXECUTE);
    for (UINTN left = *(const UINT16 *)(header + SECTION_COUNT_AT); left > 0 && !EFI_ERROR(status);
         left--, each++) {
        UINT64 first = (UINT64)image + each->offset;
        UINT64 rights = (each->flags & SECTION_WRITES ? WRITABLE : 0) |
                        (each->flags & SECTION_EXECUTES ? 0 : NO_EXECUTE);
        status = give(system, root, first, first + each->bytes, rights);
    }
    return status;
}

EFI_STATUS prepare_image(EFI_SYSTEM_TABLE *system, EFI_HANDLE loader) {
    EFI_LOADED_IMAGE *loaded;
    UINT64 *root = new_table(system);
    UINT64 *below = new_table(system);
    UINT64 stack;
    EFI_STATUS status =
        system->BootServices->HandleProtocol(loader, &loaded_image_guid, (void **)&loaded);
    if (EFI_ERROR(status) || root == NULL || below == NULL) {
        return EFI_OUT_OF_RESOURCES;
    }
    root[0] = (UINT64)below | PRESENT | WRITABLE;
    for (UINT64 i = 0; i < ENTRIES; i++) {
        below[i] = i << 30 | PRESENT | WRITABLE | LARGE;
    }
    __asm__ volatile("mov %%rsp, %0" : "=r"(stack));
    status = give_sections(system, root, loaded->ImageBase);
    if (!EFI_ERROR(status)) {
        status = give(system, root, stack - STACK_BYTES, stack + 1, WRITABLE | NO_EXECUTE);
    }
    if (!EFI_ERROR(status)) {
        __asm__ volatile("mov %0, %%cr3" ::"r"(root) : "memory");
    }
    return status;
}
