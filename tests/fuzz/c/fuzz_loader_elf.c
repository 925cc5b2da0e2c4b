/** The kernel's file: what is accepted can be loaded and planned without another look at it. */
#include <string.h>

#include "evidence/access_plan.h"
#include "kernel/elf.h"
#include "support/recording_sink.h"
#include "target.h"
#include "trace/paging.h"

static struct recording_sink *recording;

static void check_segments(const struct elf_image *image, size_t size, unsigned levels) {
    bool entered = false;
    REQUIRE(image->segment_count > 0 && image->segment_count <= HANDOFF_MAX_SEGMENTS);
    for (size_t i = 0; i < image->segment_count; i++) {
        const struct elf64_segment *segment = &image->segments[i];
        uint64_t last = segment->vaddr + segment->memsz - 1;
        REQUIRE(segment->memsz > 0 && segment->filesz <= segment->memsz);
        REQUIRE(segment->offset <= size && segment->filesz <= size - segment->offset);
        REQUIRE(virt_is_canonical(segment->vaddr, levels) && virt_is_canonical(last, levels));
        REQUIRE(segment->vaddr >= image->first_page && last >= segment->vaddr);
        REQUIRE(last - image->first_page < ELF_MAX_SPAN_BYTES + PAGE_BYTES);
        REQUIRE(last / PAGE_BYTES <= image->last_page / PAGE_BYTES);
        REQUIRE(i == 0 ||
                segment->vaddr > image->segments[i - 1].vaddr + (image->segments[i - 1].memsz - 1));
        entered |= image->entry - segment->vaddr < segment->filesz;
    }
    REQUIRE(entered);
    REQUIRE(image->build_id_bytes <= ELF_BUILD_ID_BYTES);
}

static void plan(const struct elf_image *image) {
    static const struct plan_addresses addresses = {
        .after_cr3 = 0x1000,
        .stack_write = 0x1004,
        .pending_vector = -1,
        .breakpoint = 0x1002,
        .stack_top = UINT64_C(0xfffffe0000005000),
        .info = UINT64_C(0xfffffc0000000000),
        .framebuffer = UINT64_C(0xfffffd0000000000),
        .framebuffer_bytes = 0x300000,
    };
    struct access_plan made;
    struct trace trace;
    access_plan_make(&made, &addresses, image);
    REQUIRE(made.count <= PLAN_MAX_STEPS);
    recording->used = 0;
    recording->bytes[0] = '\0';
    trace_init(&trace);
    REQUIRE(trace_add_sink(&trace, &recording->sink));
    access_plan_trace(&made, &trace);
    REQUIRE(recording_sink_records(recording) == made.count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (recording == NULL) {
        recording = recording_sink_new();
    }
    for (unsigned levels = 4; levels <= 5; levels++) {
        struct elf_image image;
        struct message why = {.length = 0};
        if (elf_check(data, size, levels, &image, &why)) {
            check_segments(&image, size, levels);
            plan(&image);
        } else {
            REQUIRE(why.length > 0 && memchr(why.text, '\0', sizeof(why.text)) != NULL);
        }
    }
    return 0;
}
