/**
 * The thin layer that talks to UEFI. Everything here returns EFI_STATUS or, where a step of the
 * boot calls it, false with a message.
 */
#pragma once

#include <efi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "file.h"
#include "handoff.h"
#include "memory_map.h"
#include "trace/message.h"
#include "own_image.h"
#include "trace/trace.h"

#define FIRMWARE_MAX_ALLOCATIONS 32

struct firmware_allocation {
    EFI_PHYSICAL_ADDRESS phys;
    UINTN pages;
};

struct firmware {
    EFI_HANDLE image;
    EFI_SYSTEM_TABLE *system;
    EFI_BOOT_SERVICES *services;
    EFI_FILE_PROTOCOL *volume; /* the one the loader was started from */
    struct firmware_allocation allocations[FIRMWARE_MAX_ALLOCATIONS];
    size_t allocation_count;
    uint64_t allocations_asked;
    uint64_t fail_allocation; /* for tests: this one fails; 0: none */
    UINTN map_key;            /* of the last memory map */
    struct config_misdeeds misdeeds;
    void *serial; /* EFI_SERIAL_IO_PROTOCOL; NULL: none was found */
};

/** Opens the boot volume, turns the watchdog off, finds where the loader lies. */
bool firmware_start(struct firmware *firmware, EFI_HANDLE image, EFI_SYSTEM_TABLE *system,
                    struct own_image *image_ret, struct message *why);
/** One line on the console, CR LF added. ASCII. */
void firmware_tell(struct firmware *firmware, const char *line);
/** The `firmware` record. */
void firmware_trace(struct firmware *firmware, struct trace *trace, uint32_t cpu_count);
/**
 * Memory map, then ExitBootServices, as often as the specification lets one retry (UEFI 7.4.6).
 * map: its descriptors point to the buffer to fill. After success there is no firmware to call.
 */
EFI_STATUS firmware_exit(struct firmware *firmware, struct memory_map *map, UINTN capacity,
                         unsigned *attempts_ret);
/** Gives back what was taken, for a boot that is refused: all pages, the boot volume. */
void firmware_release(struct firmware *firmware);

/* firmware_memory.c */
/** A struct page_source callback; context is struct firmware. Freed by firmware_memory_release. */
bool firmware_memory_allocate(void *context, const char *what, uint64_t pages, uint64_t *phys_ret,
                              struct message *why);
/** The same below an address. */
bool firmware_memory_allocate_below(void *context, const char *what, uint64_t pages, uint64_t limit,
                                    uint64_t *phys_ret, struct message *why);
/** Frees all pages that were allocated. */
void firmware_memory_release(struct firmware *firmware);
/** Fills a buffer with the memory map of this moment; keeps its key. */
EFI_STATUS firmware_memory_map(struct firmware *firmware, void *buffer, UINTN capacity,
                               struct memory_map *map_ret);
/** A copy of the memory map in fresh pages. */
bool firmware_memory_copy_map(struct firmware *firmware, struct memory_map *map_ret,
                              struct message *why);

/* firmware_volume.c */
enum firmware_file { FIRMWARE_FILE_READ, FIRMWARE_FILE_ABSENT, FIRMWARE_FILE_BAD };
/** Reads a whole file into fresh pages. name: path on the boot volume. */
enum firmware_file firmware_volume_read(struct firmware *firmware, const char *name,
                                        struct file *file_ret, struct message *why);
/** Writes a whole file. What was there is replaced if it is empty or begins with `start`, of 16
 * bytes at most; else it stays, and EFI_ACCESS_DENIED is returned. */
EFI_STATUS firmware_volume_write(struct firmware *firmware, const char *name, const char *start,
                                 const void *bytes, UINTN count);

/* firmware_display.c */
/** The frame buffer; bytes == 0 in the result: there is none that a kernel can draw on. */
void firmware_display_find(struct firmware *firmware, struct handoff_framebuffer *framebuffer_ret);
/** Fills it with one colour, where there is one. */
void firmware_display_clear(struct firmware *firmware);
/** Until a key is pressed, 10 minutes at most: what is on the screen is to be photographed. */
void firmware_display_wait(struct firmware *firmware);

/* firmware_variable.c */
/** Reads what the last boot that left something has left; returns its bytes, 0: none, or more than
 * have room. */
size_t firmware_variable_read(struct firmware *firmware, void *bytes_ret, size_t size);
/** Leaves bytes for the next boot; none: what was left is removed. */
EFI_STATUS firmware_variable_write(struct firmware *firmware, const void *bytes, size_t count);
/* Firmware works from the top of memory down, and OVMF's first phases below 16 MiB: what lies
 * between is still there after a warm reset, what lies at the top is not. */
#define FIRMWARE_KEPT_BELOW (UINT64_C(64) << 20)
/** Pages below FIRMWARE_KEPT_BELOW that nobody uses while the machine is on; 0: there are none. */
uint64_t firmware_variable_pages(struct firmware *firmware, size_t pages);

/* firmware_machine.c */
/** CPUs as EFI_MP_SERVICES reports them; 1 where there is no such service. */
uint32_t firmware_machine_cpu_count(struct firmware *firmware);
/** APIC ids of the CPUs that can be started, the boot CPU's first; returns how many, 0 where there
 * is no such service. */
uint32_t firmware_machine_apic_ids(struct firmware *firmware, uint32_t *ids_ret, uint32_t capacity);
/** ACPI root pointer, the newer one first; 0: none. */
uint64_t firmware_machine_rsdp(struct firmware *firmware);

/* firmware_serial.c */
/** Whether the firmware has a serial port of its own to write to, until ExitBootServices. */
bool firmware_serial_find(struct firmware *firmware);
/** A struct trace_sink's write; context is struct firmware. */
void firmware_serial_write(void *context, const char *bytes, size_t count);
