/* A firmware that keeps nothing for the next boot: no variable can be written, and no memory that
 * must lie low is free. */
#include "chain.h"

static EFI_ALLOCATE_PAGES allocate_pages;

static EFI_STATUS EFIAPI write_no_variable(CHAR16 *name, EFI_GUID *guid, UINT32 attributes,
                                           UINTN bytes, void *data) {
    (void)name;
    (void)guid;
    (void)attributes;
    (void)bytes;
    (void)data;
    return EFI_WRITE_PROTECTED;
}

static EFI_STATUS EFIAPI allocate_nothing_reserved(EFI_ALLOCATE_TYPE type, EFI_MEMORY_TYPE memory,
                                                   UINTN pages, EFI_PHYSICAL_ADDRESS *phys) {
    if (memory == EfiReservedMemoryType) {
        return EFI_OUT_OF_RESOURCES;
    }
    return allocate_pages(type, memory, pages, phys);
}

EFI_STATUS prepare_machine(EFI_SYSTEM_TABLE *system) {
    system->RuntimeServices->SetVariable = write_no_variable;
    allocate_pages = system->BootServices->AllocatePages;
    system->BootServices->AllocatePages = allocate_nothing_reserved;
    return EFI_SUCCESS;
}
