/** What the steps of the boot pass on to each other. Everything points into the loader's own
 * memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "evidence/noted_accesses.h"
#include "file.h"
#include "handoff.h"
#include "inject/faults.h"
#include "kernel/elf.h"
#include "memory_map.h"
#include "trace/message.h"
#include "own_image.h"
#include "page_source.h"
#include "space/address_space.h"
#include "trace/cpu.h"
#include "trace/screen_sink.h"
#include "trace/sinks.h"
#include "trace/switch.h"
#include "trace/trace.h"

#define KERNEL_NAME "kernel.elf"

struct boot {
    struct config config;
    struct fault_set faults;
    struct page_source pages;

    struct trace trace;
    struct uart_sink uart;
    struct debugcon_sink debugcon;
    struct buffer_sink buffer;
    struct screen_sink screen;
    bool has_uart, has_debugcon, has_buffer, has_screen;

    /* What the firmware told us. */
    struct own_image image;
    struct memory_map firmware_map; /* before our own allocations: enough to know what is RAM */
    struct file initrd;
    struct handoff_framebuffer framebuffer; /* range.virt not set yet */
    uint32_t cpu_count;
    uint32_t apic_ids[HANDOFF_MAX_CPUS]; /* the boot CPU's first */
    uint32_t apic_id_count;
    uint64_t rsdp_phys;

    struct cpu_state cpu;     /* at entry */
    struct cpu_state planned; /* in the instant after mov cr3 */

    struct elf_image kernel;
    uint64_t kernel_phys; /* of the page kernel.first_page */

    struct address_space space;
    struct handoff *info;        /* identity-mapped now */
    struct memory_map final_map; /* its buffer; filled at the very end */
    uint64_t final_map_capacity; /* bytes */
    struct noted_accesses noted;
    struct cr3scope_request request; /* the switch */

    /* Why the boot is refused. */
    const char *where;
    struct message why;
};

/** Notes where it failed; returns false, so that a step can say `return boot_refuse(...)`. */
bool boot_refuse(struct boot *boot, const char *where);

/** Depth of the page tables that the CPU walks: 5 with CR4.LA57, else 4. */
unsigned boot_levels(const struct boot *boot);

/** Whether the page at phys is in the pool of tables. */
bool boot_owns_table(const struct boot *boot, uint64_t phys);
/** The entries of the page at phys, by the identity map; NULL unless the pool or the firmware's map
 * says that it is RAM. boot: struct boot. */
const uint64_t *boot_table(void *boot, uint64_t phys);
