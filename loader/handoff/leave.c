#include "handoff/leave.h"

#include "boot.h"
#include "handoff/descriptors.h"
#include "handoff/local_apic.h"
#include "trace/control_registers.h"
#include "trace/crc32.h"
#include "trace/exception.h"
#include "trace/msr.h"

#define VECTOR_BREAKPOINT 3

/* The safe IDT's handler has nothing but its frame: it finds the trace here. */
static struct boot *leaving;
static bool in_handler;

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
    info->trace = (struct handoff_trace){
        .bytes = boot->trace.position.bytes,
        .sequence = boot->trace.position.sequence,
        .crc = boot->trace.position.crc,
        .uart_port = boot->has_uart ? boot->uart.port : 0,
        .debugcon_port = boot->has_debugcon ? boot->debugcon.port : 0,
    };
    info->tables_crc = tables_crc(&boot->space);
}

/* All but EFER, which the handoff itself loads. */
static void apply_planned_state(const struct boot *boot) {
    if ((boot->cpu.features & CPU_PAT) != 0) {
        msr_write(MSR_PAT, boot->planned.pat);
    }
    __asm__ volatile("mov %0, %%cr0" : : "r"(boot->planned.cr0) : "memory");
    __asm__ volatile("mov %0, %%cr4" : : "r"(boot->planned.cr4) : "memory");
}

_Noreturn void leave_to_kernel(struct boot *boot) {
    __asm__ volatile("cli" : : : "memory");
    fill_info(boot);
    leaving = boot;
    apply_planned_state(boot);
    descriptors_load(boot->config.safe_idt);
    if ((boot->arguments.flags & HANDOFF_INTERRUPTS) != 0) {
        local_apic_interrupt_self(PENDING_VECTOR);
    }
    handoff_jump(&boot->arguments);
}

static void tell_line(struct boot *boot, const char *line) {
    for (size_t i = 0; i < boot->trace.sink_count; i++) {
        const struct trace_sink *sink = boot->trace.sinks[i];
        size_t length = 0;
        while (line[length] != '\0') {
            length++;
        }
        sink->write(sink->context, line, length);
        sink->write(sink->context, "\r\n", 2);
    }
}

/* The safe IDT: whatever happens until the kernel loads its own is told, then the CPU halts. */
void exception_dispatch(struct exception_frame *frame) {
    if (frame->vector == VECTOR_BREAKPOINT && leaving->config.breakpoint) {
        return; /* the handoff's own: it could be delivered, which is all it asks */
    }
    if (leaving != NULL && !in_handler) {
        struct message line;
        in_handler = true;
        exception_trace(&leaving->trace, "safe-idt", frame);
        message_start(&line, "cr3scope: exception ");
        message_decimal(&line, frame->vector);
        message_text(&line, " error ");
        message_hex(&line, frame->error_code);
        message_text(&line, " at RIP ");
        message_hex(&line, frame->rip);
        message_text(&line, ", CR2 ");
        message_hex(&line, cpu_read_cr2());
        message_text(&line, ": halted");
        tell_line(leaving, line.text);
    }
    for (;;) {
        __asm__ volatile("cli\n\thlt");
    }
}
