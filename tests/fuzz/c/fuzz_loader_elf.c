/** The kernel's file: what is accepted can be loaded, and its notes read, without another look at
 * it. */
#include <string.h>

#include "evidence/noted_accesses.h"
#include "kernel/elf.h"
#include "target.h"
#include "trace/paging.h"

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

static void note_accesses(const struct elf_image *image) {
    static const struct noted_places places = {
        .stack_top = UINT64_C(0xfffffe0000005000),
        .info = UINT64_C(0xfffffc0000000000),
        .framebuffer = UINT64_C(0xfffffd0000000000),
        .framebuffer_bytes = 0x300000,
    };
    struct noted_accesses noted;
    noted_accesses_read(&noted, &places, image);
    REQUIRE(noted.count <= CR3SCOPE_MOST_ACCESSES);
    for (size_t i = 0; i < noted.count; i++) {
        const struct cr3scope_access *access = &noted.accesses[i];
        REQUIRE((unsigned)access->kind <= CR3SCOPE_WRITES && access->width > 0);
        REQUIRE(access->width <= HANDOFF_MAX_ACCESS_BYTES);
        REQUIRE((access->align & (access->align - 1)) == 0);
        REQUIRE(memchr(access->name, '\0', NOTED_NAME_BYTES) != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    for (unsigned levels = 4; levels <= 5; levels++) {
        struct elf_image image;
        struct message why = {.length = 0};
        if (elf_check(data, size, levels, &image, &why)) {
            check_segments(&image, size, levels);
            note_accesses(&image);
        } else {
            REQUIRE(why.length > 0 && memchr(why.text, '\0', sizeof(why.text)) != NULL);
        }
    }
    return 0;
}
