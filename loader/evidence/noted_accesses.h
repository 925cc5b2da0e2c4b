/** The kernel's first accesses, as its ELF notes announce them. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "handoff.h"
#include "kernel/elf.h"
#include "trace/switch.h"

#define NOTED_NAME_BYTES (sizeof(((struct handoff_access *)0)->name) + 1)

struct noted_accesses {
    struct cr3scope_access accesses[CR3SCOPE_MOST_ACCESSES];
    char names[CR3SCOPE_MOST_ACCESSES][NOTED_NAME_BYTES];
    size_t count; /* further ones are dropped */
};

/** What an access is relative to. Virtual addresses in the new tables. */
struct noted_places {
    uint64_t stack_top;
    uint64_t info, memory_map, initrd;
    uint64_t framebuffer, framebuffer_bytes; /* 0 bytes: none */
};

/** Reads the notes, in their order. One with impossible values, or of a frame buffer that is not
 * there, is left out. The names stay in *noted_ret. */
void noted_accesses_read(struct noted_accesses *noted_ret, const struct noted_places *places,
                         const struct elf_image *kernel);
