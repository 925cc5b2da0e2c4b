#include "evidence/evidence.h"

#include "boot.h"
#include "trace/dump.h"

#define MAX_OLD_TABLES 4096u
/* Tables outside the pool that a dump follows. */
#define MAX_STRAY_TABLES 256u
/* Bytes of code kept at the kernel's entry. */
#define ENTRY_BYTES 64u

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

static void trace_entry(struct boot *boot) {
    uint64_t entry = boot->kernel.entry;
    uint64_t phys = boot->kernel_phys + (entry - boot->kernel.first_page);
    uint64_t left = boot->kernel.last_page + PAGE_BYTES - entry;
    memory_write(&boot->trace, "entry", "handoff", entry, (const void *)(uintptr_t)phys,
                 left < ENTRY_BYTES ? left : ENTRY_BYTES, 0);
}

/* The new tables always fit; the firmware's are as many as it likes. */
static bool allocate_scratch(struct boot *boot) {
    uint64_t own = boot->space.pool_pages + MAX_STRAY_TABLES;
    uint64_t words = DUMP_SCRATCH_WORDS(own > MAX_OLD_TABLES ? own : MAX_OLD_TABLES);
    uint64_t scratch;
    if (!boot->pages.allocate(boot->pages.context, "the dump's scratch memory",
                              (words * sizeof(uint64_t) + PAGE_BYTES - 1) / PAGE_BYTES, &scratch,
                              &boot->why)) {
        return boot_refuse(boot, "trace");
    }
    boot->request.scratch = (void *)(uintptr_t)scratch;
    boot->request.scratch_bytes = words * sizeof(uint64_t);
    return true;
}

static void note_accesses(struct boot *boot) {
    const struct handoff *info = boot->info;
    const struct noted_places places = {
        .stack_top = boot->request.stack_top,
        .info = boot->request.arguments[0],
        .memory_map = info->memory_map.virt,
        .initrd = info->initrd.virt,
        .framebuffer = info->framebuffer.range.virt,
        .framebuffer_bytes = info->framebuffer.range.bytes,
    };
    noted_accesses_read(&boot->noted, &places, &boot->kernel);
    boot->request.accesses = boot->noted.accesses;
    boot->request.access_count = boot->noted.count;
}

bool evidence_trace(struct boot *boot, bool *will_fault_ret) {
    if (!allocate_scratch(boot)) {
        return false;
    }
    note_accesses(boot);
    trace_entry(boot);
    trace_loaded(boot);
    enum cr3scope_status status = cr3scope_check(&boot->request);
    if (status != CR3SCOPE_OK) {
        message_start(&boot->why, cr3scope_reason(&boot->request));
    }
    /* The trace has them already; who draws an exception tells of them. */
    boot->request.ranges = boot->space.mapped.ranges;
    boot->request.range_count = boot->space.mapped.count;
    *will_fault_ret = status == CR3SCOPE_FINDING;
    return status == CR3SCOPE_OK || *will_fault_ret || boot_refuse(boot, "trace");
}
