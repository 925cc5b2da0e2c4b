/* Faults in the kernel's own bytes, after they were copied. */
#include "inject/fault_actions.h"
#include "kernel/elf.h"

/* Any value but 0. */
#define DIRT 0xa5
#define DIRTY_BYTES 64u
/* What a read finds where no memory answers. */
#define OPEN_BUS 0xff
#define ENTRY_BYTES 64u

static uint8_t *at(const struct elf_image *kernel, uint8_t *bytes, uint64_t virt) {
    return bytes + (virt - kernel->first_page);
}

/* The first bytes of BSS, and any padding before it: what a loader leaves that allocates without
 * clearing. */
void on_kernel_bss_dirty(const struct elf_image *kernel, uint8_t *bytes) {
    for (size_t i = 0; i < kernel->segment_count; i++) {
        const struct elf64_segment *segment = &kernel->segments[i];
        if (segment->memsz >= segment->filesz + DIRTY_BYTES) {
            __builtin_memset(at(kernel, bytes, segment->vaddr + segment->filesz), DIRT,
                             DIRTY_BYTES);
        }
    }
}

void on_kernel_text_zero(const struct elf_image *kernel, uint8_t *bytes) {
    for (size_t i = 0; i < kernel->segment_count; i++) {
        const struct elf64_segment *segment = &kernel->segments[i];
        if ((segment->flags & SEGMENT_EXECUTE) != 0) {
            __builtin_memset(at(kernel, bytes, segment->vaddr), 0, (size_t)segment->memsz);
        }
    }
}

void on_kernel_entry_absent(const struct elf_image *kernel, uint8_t *bytes) {
    __builtin_memset(at(kernel, bytes, kernel->entry), OPEN_BUS, ENTRY_BYTES);
}
