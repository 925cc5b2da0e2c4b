/** Checks a kernel's ELF file and says what to load. Pure: no memory but the caller's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handoff.h"
#include "kernel/elf64.h"
#include "trace/message.h"

/* A kernel that spans more than this from its first to its last page is taken for a mistake. */
#define ELF_MAX_SPAN_BYTES (UINT64_C(1) << 30)
#define ELF_BUILD_ID_BYTES 20

/** A checked file: every segment lies in the file, is canonical, and overlaps no other. */
struct elf_image {
    const uint8_t *file;
    size_t bytes;
    uint64_t entry;
    uint64_t first_page; /* virt of the first page, page aligned */
    uint64_t last_page;  /* virt of the last page */
    size_t segment_count;
    struct elf64_segment segments[HANDOFF_MAX_SEGMENTS]; /* PT_LOAD with memsz > 0, by address */
    size_t build_id_bytes;                               /* 0: none */
    uint8_t build_id[ELF_BUILD_ID_BYTES];
    uint32_t note_flags; /* HANDOFF_FLAG_* */
};

/** levels: depth of the page tables, for what is canonical. On failure `why` says what and where.
 */
bool elf_check(const void *file, size_t bytes, unsigned levels, struct elf_image *image_ret,
               struct message *why) __attribute__((warn_unused_result));

/**
 * The note accesses of a checked image, in file order. cursor: 0 at first, owned by the iteration.
 * False at the end. Malformed notes end the iteration: they are hints, not needed to boot.
 */
bool elf_next_access(const struct elf_image *image, size_t *cursor,
                     struct handoff_access *access_ret);
