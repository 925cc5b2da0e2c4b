/** What the steps of the boot pass on to each other. Everything points into the loader's own
 * memory. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "evidence/access_plan.h"
#include "file.h"
#include "handoff.h"
#include "handoff/handoff_jump.h"
#include "inject/faults.h"
#include "kernel/elf.h"
#include "memory_map.h"
#include "message.h"
#include "own_image.h"
#include "page_source.h"
#include "space/address_space.h"
#include "trace/cpu.h"
#include "trace/sinks.h"
#include "trace/trace.h"

#define KERNEL_NAME "kernel.elf"
#define STRAY_TABLES 64

struct boot {
    struct config config;
    struct fault_set faults;
    struct page_source pages;

    struct trace trace;
    struct uart_sink uart;
    struct debugcon_sink debugcon;
    struct buffer_sink buffer;
    bool has_uart, has_debugcon, has_buffer;

    /* What the firmware told us. */
    struct own_image image;
    struct memory_map firmware_map; /* before our own allocations: enough to know what is RAM */
    struct file initrd;
    struct handoff_framebuffer framebuffer; /* range.virt not set yet */
    uint32_t cpu_count;
    uint64_t rsdp_phys;

    struct cpu_state cpu;     /* at entry */
    struct cpu_state planned; /* in the instant after mov cr3 */

    struct elf_image kernel;
    uint64_t kernel_phys; /* of the page kernel.first_page */

    struct address_space space;
    struct handoff *info;        /* identity-mapped now */
    struct memory_map final_map; /* its buffer; filled at the very end */
    uint64_t final_map_capacity; /* bytes */
    struct access_plan plan;
    /* Pages outside the pool that the plan's walks read as tables: garbage led there. */
    uint64_t stray_tables[STRAY_TABLES];
    size_t stray_table_count; /* further ones are dropped */
    struct handoff_arguments arguments;

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
/** The identity map as the trace library reads it: RAM of the firmware's map only. */
struct physical_memory boot_memory(struct boot *boot);
/** The same, and every page that is read outside the pool is noted as a stray table. */
struct physical_memory boot_memory_noted(struct boot *boot);
/** The pool of tables and the stray tables only. */
struct physical_memory boot_memory_of_tables(struct boot *boot);
