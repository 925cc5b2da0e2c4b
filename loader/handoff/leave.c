#include "handoff/leave.h"

#include "boot.h"
#include "handoff/local_apic.h"
#include "trace/crc32.h"

/* CRC-32 of the pool with the bits cleared that the CPU sets by itself. */
static uint32_t tables_crc(const struct address_space *space) {
    const uint64_t *entries = (const uint64_t *)(uintptr_t)space->pool_phys;
    uint32_t crc = 0;
    for (uint64_t i = 0; i < space->pool_pages * PAGE_ENTRIES; i++) {
        uint64_t entry = entries[i] & ~(ENTRY_ACCESSED | ENTRY_DIRTY);
        crc = crc32_update(crc, &entry, sizeof(entry));
    }
    return crc;
}

static void fill_info(struct boot *boot) {
    struct handoff *info = boot->info;
    info->magic = HANDOFF_MAGIC;
    info->version = HANDOFF_VERSION;
    info->size = sizeof(*info);
    info->levels = boot->space.table.levels;
    info->cpu_count = boot->cpu_count;
    info->root_phys = boot->space.table.root_phys;
    info->recursive_slot = HANDOFF_RECURSIVE_SLOT;
    info->recursive_virt = address_space_recursive_virt(&boot->space);
    info->memory_map_used = boot->final_map.bytes;
    info->descriptor_size = (uint32_t)boot->final_map.descriptor_bytes;
    info->descriptor_version = boot->final_map.descriptor_version;
    info->rsdp_phys = boot->rsdp_phys;
    __builtin_memcpy(info->command_line, boot->config.kernel, sizeof(info->command_line));
    const struct uart_place *uart = &boot->uart.place;
    bool in_ports = boot->has_uart && uart->stride == 0;
    if (boot->has_uart && !in_ports) {
        info->uart = (struct handoff_uart){uart->base, uart->stride, uart->width == 4 ? 4 : 1};
    }
    info->trace = (struct handoff_trace){
        .bytes = boot->trace.position.bytes,
        .sequence = boot->trace.position.sequence,
        .crc = boot->trace.position.crc,
        .uart_port = in_ports ? (uint16_t)uart->base : 0,
        .debugcon_port = boot->has_debugcon ? boot->debugcon.port : 0,
    };
    info->tables_crc = tables_crc(&boot->space);
}

_Noreturn void leave_to_kernel(struct boot *boot) {
    cpu_interrupts_off();
    fill_info(boot);
    if ((boot->request.flags & CR3SCOPE_INTERRUPTS) != 0) {
        local_apic_interrupt_self(CR3SCOPE_PENDING_VECTOR);
    }
    (void)cr3scope_leave(&boot->request);
    cpu_halt(); /* only a switch that was not checked returns */
}
