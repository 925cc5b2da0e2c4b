/** Walks the notes of an ELF file's PT_NOTE segments. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Notes behind these are not looked at: each is searched for from the start, and a file could hold
 * millions of empty ones. */
#define ELF_MAX_NOTES 256u

struct elf_note {
    const char *owner; /* owner_bytes long, the NUL not counted */
    size_t owner_bytes;
    uint32_t type;
    const uint8_t *description;
    size_t description_bytes;
};

/** Note number `number` of the file, from 0, over all its PT_NOTE segments; false if there is none.
 */
bool elf_notes_at(const uint8_t *file, size_t bytes, size_t number, struct elf_note *note_ret);
