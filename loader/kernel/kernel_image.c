#include "kernel/kernel_image.h"

#include "boot.h"
#include "kernel/cpio.h"

bool kernel_image_traces(const struct boot *boot) {
    return (boot->kernel.note_flags & HANDOFF_FLAG_TRACES) != 0;
}

static void trace_elf(struct boot *boot) {
    const struct elf_image *kernel = &boot->kernel;
    char build_id[2 * ELF_BUILD_ID_BYTES + 1];
    message_digits(build_id, kernel->build_id, kernel->build_id_bytes);
    trace_open(&boot->trace, "elf");
    trace_text(&boot->trace, "name", KERNEL_NAME);
    trace_hex(&boot->trace, "entry", kernel->entry);
    trace_hex(&boot->trace, "size", kernel->bytes);
    trace_hex(&boot->trace, "machine", ELF_MACHINE_X86_64);
    if (kernel->build_id_bytes > 0) {
        trace_text(&boot->trace, "build_id", build_id);
    }
    trace_text(&boot->trace, "traces", kernel_image_traces(boot) ? "yes" : "no");
    trace_close(&boot->trace);
}

static void trace_segment(struct boot *boot, size_t index, uint64_t phys) {
    const struct elf64_segment *segment = &boot->kernel.segments[index];
    const char flags[] = {(segment->flags & SEGMENT_READ) != 0 ? 'r' : '-',
                          (segment->flags & SEGMENT_WRITE) != 0 ? 'w' : '-',
                          (segment->flags & SEGMENT_EXECUTE) != 0 ? 'x' : '-', '\0'};
    trace_open(&boot->trace, "segment");
    trace_text(&boot->trace, "of", KERNEL_NAME);
    trace_hex(&boot->trace, "index", index);
    trace_hex(&boot->trace, "virt", segment->vaddr);
    trace_hex(&boot->trace, "last", segment->vaddr + segment->memsz - 1);
    trace_hex(&boot->trace, "phys", phys);
    trace_hex(&boot->trace, "filesz", segment->filesz);
    trace_hex(&boot->trace, "memsz", segment->memsz);
    trace_hex(&boot->trace, "offset", segment->offset);
    trace_text(&boot->trace, "flags", flags);
    trace_close(&boot->trace);
}

/* Fresh pages are zero, so BSS and the rest of a page are too. */
static void copy_segments(struct boot *boot) {
    for (size_t i = 0; i < boot->kernel.segment_count; i++) {
        const struct elf64_segment *segment = &boot->kernel.segments[i];
        uint64_t phys = boot->kernel_phys + (segment->vaddr - boot->kernel.first_page);
        __builtin_memcpy((void *)(uintptr_t)phys, boot->kernel.file + segment->offset,
                         (size_t)segment->filesz);
        boot->info->segments[i] = (struct handoff_segment){
            .virt = segment->vaddr,
            .phys = phys,
            .filesz = segment->filesz,
            .memsz = segment->memsz,
            .flags = segment->flags,
        };
        trace_segment(boot, i, phys);
    }
    boot->info->segment_count = (uint32_t)boot->kernel.segment_count;
}

bool kernel_image_load(struct boot *boot) {
    const void *file;
    size_t bytes;
    uint64_t info_phys;
    if (cpio_find(boot->initrd.bytes, boot->initrd.count, KERNEL_NAME, &file, &bytes, &boot->why) !=
        CPIO_OK) {
        return boot_refuse(boot, "initrd.img");
    }
    if (!elf_check(file, bytes, boot_levels(boot), &boot->kernel, &boot->why)) {
        return boot_refuse(boot, KERNEL_NAME);
    }
    trace_elf(boot);
    uint64_t pages = (boot->kernel.last_page - boot->kernel.first_page) / PAGE_BYTES + 1;
    if (!boot->pages.allocate(boot->pages.context, "the kernel's segments", pages,
                              &boot->kernel_phys, &boot->why) ||
        !boot->pages.allocate(boot->pages.context, "the boot info", 1, &info_phys, &boot->why)) {
        return boot_refuse(boot, KERNEL_NAME);
    }
    boot->info = (struct handoff *)(uintptr_t)info_phys;
    copy_segments(boot);
    return true;
}
