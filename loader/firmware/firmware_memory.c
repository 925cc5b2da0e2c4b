#include "firmware/firmware.h"

#include "text.h"
#include "trace/paging.h"

#define MAP_COPY_PAGES 8u
#define ABOVE_FOUR_GIB UINT64_C(0x110000000)

static bool refuse(struct firmware *firmware, const char *what, UINTN pages, struct message *why) {
    message_start(why, "allocation ");
    message_decimal(why, firmware->allocations_asked);
    message_text(why, " failed: ");
    message_decimal(why, pages);
    message_text(why, " pages for ");
    message_text(why, what);
    return false;
}

static bool allocate(struct firmware *firmware, const char *what, EFI_ALLOCATE_TYPE kind,
                     uint64_t pages, EFI_PHYSICAL_ADDRESS phys, uint64_t *phys_ret,
                     struct message *why) {
    bool failed = ++firmware->allocations_asked == firmware->fail_allocation ||
                  firmware->allocation_count == FIRMWARE_MAX_ALLOCATIONS;
    bool is_tables = text_equals(what, text_length(what), "the page tables");
    bool reclaimable = firmware->misdeeds.reclaimable_tables && is_tables;
    EFI_MEMORY_TYPE type = reclaimable ? EfiBootServicesData : EfiLoaderData;
    if (firmware->misdeeds.tables_above_4g && is_tables) {
        kind = AllocateAddress;
        phys = ABOVE_FOUR_GIB;
    }
    if (failed || EFI_ERROR(firmware->services->AllocatePages(kind, type, pages, &phys))) {
        return refuse(firmware, what, pages, why);
    }
    firmware->services->SetMem((void *)phys, pages * PAGE_BYTES, 0);
    firmware->allocations[firmware->allocation_count++] = (struct firmware_allocation){phys, pages};
    *phys_ret = phys;
    return true;
}

bool firmware_memory_allocate(void *context, const char *what, uint64_t pages, uint64_t *phys_ret,
                              struct message *why) {
    return allocate(context, what, AllocateAnyPages, pages, 0, phys_ret, why);
}

bool firmware_memory_allocate_below(void *context, const char *what, uint64_t pages, uint64_t limit,
                                    uint64_t *phys_ret, struct message *why) {
    return allocate(context, what, AllocateMaxAddress, pages, limit - 1, phys_ret, why);
}

void firmware_memory_release(struct firmware *firmware) {
    while (firmware->allocation_count > 0) {
        struct firmware_allocation *last = &firmware->allocations[--firmware->allocation_count];
        (void)firmware->services->FreePages(last->phys, last->pages);
    }
}

EFI_STATUS firmware_memory_map(struct firmware *firmware, void *buffer, UINTN capacity,
                               struct memory_map *map_ret) {
    UINTN bytes = capacity;
    UINTN descriptor_bytes;
    UINT32 version;
    EFI_STATUS status = firmware->services->GetMemoryMap(&bytes, buffer, &firmware->map_key,
                                                         &descriptor_bytes, &version);
    if (!EFI_ERROR(status)) {
        if (firmware->misdeeds.sizeof_descriptors) {
            descriptor_bytes = sizeof(EFI_MEMORY_DESCRIPTOR);
            bytes -= bytes % descriptor_bytes;
        }
        *map_ret = (struct memory_map){buffer, bytes, descriptor_bytes, version};
    }
    return status;
}

bool firmware_memory_copy_map(struct firmware *firmware, struct memory_map *map_ret,
                              struct message *why) {
    uint64_t phys;
    if (!firmware_memory_allocate(firmware, "a copy of the memory map", MAP_COPY_PAGES, &phys,
                                  why)) {
        return false;
    }
    EFI_STATUS status =
        firmware_memory_map(firmware, (void *)phys, MAP_COPY_PAGES * PAGE_BYTES, map_ret);
    if (EFI_ERROR(status)) {
        message_start(why, "GetMemoryMap failed with status ");
        message_hex(why, status);
        return false;
    }
    if (memory_map_count(map_ret) == 0) {
        message_start(why, "the firmware's memory map has no descriptor: ");
        message_decimal(why, map_ret->bytes);
        message_text(why, " bytes, ");
        message_decimal(why, map_ret->descriptor_bytes);
        message_text(why, " for each");
        return false;
    }
    return true;
}
