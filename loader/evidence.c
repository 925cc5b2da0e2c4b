/* What the analyzer judges: the tables before and after, descriptor tables, code bytes, memory map.
 */
#include "boot.h"

#include "descriptors.h"
#include "trace/dump.h"

#define MAX_OLD_TABLES 4096u
/* Bytes of code kept at the kernel's entry. */
#define ENTRY_BYTES 64u
#define GATE_PLANES 2u

static void trace_descriptor_tables(struct boot *boot) {
    const struct cpu_state *planned = &boot->planned;
    memory_write(&boot->trace, "gdt", "handoff", planned->gdt.base, (const void *)planned->gdt.base,
                 planned->gdt.limit + 1u, 0);
    memory_write(&boot->trace, "idt", "handoff", planned->idt.base, (const void *)planned->idt.base,
                 planned->idt.limit + 1u, GATE_PLANES);
    memory_write(&boot->trace, "tss", "handoff", (uint64_t)descriptors_tss(), descriptors_tss(),
                 TSS_BYTES, 0);
}

static void trace_code(struct boot *boot) {
    uint64_t entry = boot->kernel.entry;
    uint64_t phys = boot->kernel_phys + (entry - boot->kernel.first_page);
    uint64_t left = boot->kernel.last_page + PAGE_BYTES - entry;
    memory_write(&boot->trace, "code", "handoff", (uint64_t)handoff_jump,
                 (const void *)(uintptr_t)handoff_jump, (size_t)(handoff_code_end - handoff_first),
                 0);
    memory_write(&boot->trace, "entry", "handoff", entry, (const void *)(uintptr_t)phys,
                 left < ENTRY_BYTES ? left : ENTRY_BYTES, 0);
}

bool boot_trace_evidence(struct boot *boot) {
    struct physical_memory memory = boot_memory(boot);
    unsigned levels = boot->space.table.levels;
    /* The new tables always fit; the firmware's are as many as it likes. */
    uint64_t tables =
        boot->space.pool_pages > MAX_OLD_TABLES ? boot->space.pool_pages : MAX_OLD_TABLES;
    uint64_t words = DUMP_SCRATCH_WORDS(tables);
    uint64_t scratch;
    if (!boot->pages.allocate(boot->pages.context, "the dump's scratch memory",
                              (words * sizeof(uint64_t) + PAGE_BYTES - 1) / PAGE_BYTES, &scratch,
                              &boot->why)) {
        return boot_refuse(boot, "trace");
    }
    trace_descriptor_tables(boot);
    trace_code(boot);
    enum dump_status old = dump_write(&boot->trace, "old", boot->cpu.cr3, levels, &memory,
                                      (uint64_t *)(uintptr_t)scratch, words);
    enum dump_status new = dump_write(&boot->trace, "new", boot->arguments.cr3, levels, &memory,
                                      (uint64_t *)(uintptr_t)scratch, words);
    if (old == DUMP_SCRATCH_FULL || new == DUMP_SCRATCH_FULL) {
        message_start(&boot->why, old == DUMP_SCRATCH_FULL ? "the firmware's" : "the new");
        message_text(&boot->why, " page tables are more than the dump can hold: ");
        message_decimal(&boot->why, tables);
        return boot_refuse(boot, "trace");
    }
    return true;
}
