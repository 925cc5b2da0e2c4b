#include "evidence/evidence.h"

#include "boot.h"
#include "handoff/descriptors.h"
#include "trace/dump.h"

#define MAX_OLD_TABLES 4096u
/* Tables outside the pool that the dump follows: over a serial line each costs a tenth of a second.
 */
#define MAX_STRAY_TABLES 256u
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

/* Virtual address of the first byte from `first` on, exclusive of `end`, that is not `expected`'s;
 * expected NULL: that is not zero. `end` if there is none. */
static uint64_t first_difference(const struct boot *boot, uint64_t first, uint64_t end,
                                 const uint8_t *expected) {
    const uint8_t *bytes =
        (const uint8_t *)(uintptr_t)(boot->kernel_phys - boot->kernel.first_page);
    uint64_t virt = first;
    while (virt < end && bytes[virt] == (expected == NULL ? 0 : expected[virt - first])) {
        virt++;
    }
    return virt;
}

/* The kernel in memory against its file: whoever else wrote there is found out. */
static void trace_loaded(struct boot *boot) {
    for (size_t i = 0; i < boot->kernel.segment_count; i++) {
        const struct elf64_segment *segment = &boot->kernel.segments[i];
        uint64_t file_end = segment->vaddr + segment->filesz;
        uint64_t end = segment->vaddr + segment->memsz;
        uint64_t differs =
            first_difference(boot, segment->vaddr, file_end, boot->kernel.file + segment->offset);
        uint64_t nonzero = first_difference(boot, file_end, end, NULL);
        trace_open(&boot->trace, "loaded");
        trace_text(&boot->trace, "of", KERNEL_NAME);
        trace_hex(&boot->trace, "index", i);
        if (differs < file_end) {
            trace_hex(&boot->trace, "differs", differs);
        }
        if (nonzero < end) {
            trace_hex(&boot->trace, "nonzero", nonzero);
        }
        trace_close(&boot->trace);
    }
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

/* Garbage in our tables may lead through all of memory: then only what the loader made, and what
 * the plan meets. A root that is not ours is somebody's whole tree. */
static enum dump_status dump_new(struct boot *boot, uint64_t *scratch, uint64_t words) {
    struct physical_memory memory = boot_memory(boot);
    unsigned levels = boot_levels(boot);
    uint64_t cr3 = boot->arguments.cr3;
    uint64_t few = DUMP_SCRATCH_WORDS(boot->space.pool_pages + MAX_STRAY_TABLES);
    if (boot_owns_table(boot, cr3) && !dump_fits(cr3, levels, &memory, scratch, few)) {
        memory = boot_memory_of_tables(boot);
    }
    return dump_write(&boot->trace, "new", cr3, levels, &memory, scratch, words);
}

bool evidence_trace(struct boot *boot) {
    struct physical_memory memory = boot_memory(boot);
    unsigned levels = boot_levels(boot);
    /* The new tables always fit; the firmware's are as many as it likes. */
    uint64_t own = boot->space.pool_pages + MAX_STRAY_TABLES;
    uint64_t tables = own > MAX_OLD_TABLES ? own : MAX_OLD_TABLES;
    uint64_t words = DUMP_SCRATCH_WORDS(tables);
    uint64_t scratch;
    if (!boot->pages.allocate(boot->pages.context, "the dump's scratch memory",
                              (words * sizeof(uint64_t) + PAGE_BYTES - 1) / PAGE_BYTES, &scratch,
                              &boot->why)) {
        return boot_refuse(boot, "trace");
    }
    trace_descriptor_tables(boot);
    trace_code(boot);
    trace_loaded(boot);
    enum dump_status old = dump_write(&boot->trace, "old", boot->cpu.cr3, levels, &memory,
                                      (uint64_t *)(uintptr_t)scratch, words);
    enum dump_status new = dump_new(boot, (uint64_t *)(uintptr_t)scratch, words);
    if (old == DUMP_SCRATCH_FULL || new == DUMP_SCRATCH_FULL) {
        message_start(&boot->why, old == DUMP_SCRATCH_FULL ? "the firmware's" : "the new");
        message_text(&boot->why, " page tables are more than the dump can hold: ");
        message_decimal(&boot->why, tables);
        return boot_refuse(boot, "trace");
    }
    return true;
}
