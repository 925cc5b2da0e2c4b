#include "kernel/elf_notes.h"

#include "kernel/elf64.h"

static size_t note_align(size_t bytes) {
    return (bytes + 3) & ~(size_t)3;
}

/* One segment's notes; *number counts down to the wanted one. */
static bool note_in_segment(const uint8_t *start, size_t bytes, size_t *number,
                            struct elf_note *note_ret) {
    size_t offset = 0;
    while (bytes - offset >= sizeof(struct elf64_note)) {
        struct elf64_note head;
        __builtin_memcpy(&head, start + offset, sizeof(head));
        size_t name = offset + sizeof(head);
        size_t description = name + note_align(head.name_bytes);
        size_t next = description + note_align(head.description_bytes);
        if (next < offset || next > bytes || description > bytes) {
            return false;
        }
        if (*number == 0) {
            note_ret->owner = (const char *)start + name;
            note_ret->owner_bytes = head.name_bytes > 0 ? head.name_bytes - 1 : 0;
            note_ret->type = head.type;
            note_ret->description = start + description;
            note_ret->description_bytes = head.description_bytes;
            return true;
        }
        --*number;
        offset = next;
    }
    return false;
}

bool elf_notes_at(const uint8_t *file, size_t bytes, size_t number, struct elf_note *note_ret) {
    struct elf64_header header;
    if (number >= ELF_MAX_NOTES) {
        return false;
    }
    __builtin_memcpy(&header, file, sizeof(header));
    for (unsigned i = 0; i < header.phnum; i++) {
        struct elf64_segment segment;
        __builtin_memcpy(&segment, file + header.phoff + i * sizeof(segment), sizeof(segment));
        if (segment.type != SEGMENT_NOTE || segment.offset > bytes ||
            segment.filesz > bytes - segment.offset) {
            continue;
        }
        if (note_in_segment(file + segment.offset, (size_t)segment.filesz, &number, note_ret)) {
            return true;
        }
    }
    return false;
}
