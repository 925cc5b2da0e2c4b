#include "kernel/elf.h"

#include "kernel/elf_notes.h"
#include "text.h"
#include "trace/paging.h"

#define NOTE_BUILD_ID 3u /* owner "GNU" */

static bool refuse(struct message *why, const char *what) {
    message_start(why, what);
    return false;
}

static bool refuse_segment(struct message *why, size_t index, const char *what, uint64_t value) {
    message_start(why, "segment ");
    message_decimal(why, index);
    message_text(why, ": ");
    message_text(why, what);
    message_text(why, " ");
    message_hex(why, value);
    return false;
}

static bool check_header(const struct elf64_header *header, size_t bytes, struct message *why) {
    if (!text_equals((const char *)header->ident, 4, "\177ELF")) {
        return refuse(why, "not an ELF file: bad magic");
    }
    if (header->ident[4] != ELF_CLASS_64 || header->ident[5] != ELF_DATA_LITTLE) {
        return refuse(why, "not a 64-bit little-endian ELF file");
    }
    if (header->machine != ELF_MACHINE_X86_64) {
        message_start(why, "e_machine is ");
        message_decimal(why, header->machine);
        message_text(why, ", not x86-64 (62)");
        return false;
    }
    if (header->type != ELF_TYPE_EXECUTABLE) {
        message_start(why, "e_type is ");
        message_decimal(why, header->type);
        message_text(why, ": not a statically linked executable (2)");
        return false;
    }
    if (header->phentsize != sizeof(struct elf64_segment)) {
        return refuse(why, "e_phentsize is not 56");
    }
    if (header->phoff > bytes ||
        header->phnum * sizeof(struct elf64_segment) > bytes - header->phoff) {
        return refuse(why, "ELF file is truncated: the program headers lie past its end");
    }
    return true;
}

static bool check_segment(const struct elf64_segment *segment, size_t index, size_t bytes,
                          unsigned levels, struct message *why) {
    uint64_t last = segment->vaddr + segment->memsz - 1;
    if (segment->filesz > segment->memsz) {
        return refuse_segment(why, index, "p_filesz is larger than p_memsz:", segment->filesz);
    }
    if (segment->offset > bytes || segment->filesz > bytes - segment->offset) {
        return refuse_segment(why, index, "lies outside the file: p_offset", segment->offset);
    }
    if (last < segment->vaddr) {
        return refuse_segment(why, index, "p_vaddr + p_memsz overflows: p_memsz", segment->memsz);
    }
    if (!virt_is_canonical(segment->vaddr, levels) || !virt_is_canonical(last, levels) ||
        segment->vaddr >> 63 != last >> 63) {
        return refuse_segment(why, index, "is not canonical: p_vaddr", segment->vaddr);
    }
    if ((segment->flags & SEGMENT_WRITE) != 0 && (segment->flags & SEGMENT_EXECUTE) != 0) {
        return refuse_segment(why, index, "is both writable and executable: p_vaddr",
                              segment->vaddr);
    }
    return true;
}

/* Keeps the array sorted by address; an overlap is then one of neighbours. */
static void insert_segment(struct elf_image *image, const struct elf64_segment *segment) {
    size_t at = image->segment_count++;
    while (at > 0 && image->segments[at - 1].vaddr > segment->vaddr) {
        image->segments[at] = image->segments[at - 1];
        at--;
    }
    image->segments[at] = *segment;
}

static bool check_overlaps(const struct elf_image *image, struct message *why) {
    for (size_t i = 1; i < image->segment_count; i++) {
        const struct elf64_segment *low = &image->segments[i - 1];
        const struct elf64_segment *high = &image->segments[i];
        uint64_t low_last = low->vaddr + low->memsz - 1;
        bool same_page = low_last / PAGE_BYTES == high->vaddr / PAGE_BYTES;
        if (low_last >= high->vaddr) {
            message_start(why, "segments overlap: one ends at ");
        } else if (same_page && low->flags != high->flags) {
            message_start(why, "segments with different rights share a page: one ends at ");
        } else {
            continue;
        }
        message_hex(why, low_last);
        message_text(why, ", the next begins at ");
        message_hex(why, high->vaddr);
        return false;
    }
    return true;
}

static bool check_entry(const struct elf_image *image, struct message *why) {
    for (size_t i = 0; i < image->segment_count; i++) {
        const struct elf64_segment *segment = &image->segments[i];
        if ((segment->flags & SEGMENT_EXECUTE) != 0 && image->entry >= segment->vaddr &&
            image->entry - segment->vaddr < segment->filesz) {
            return true;
        }
    }
    message_start(why, "the entry point lies in no executable segment: e_entry ");
    message_hex(why, image->entry);
    return false;
}

static bool is_ours(const struct elf_note *note) {
    return text_equals(note->owner, note->owner_bytes, HANDOFF_NOTE_OWNER);
}

static void read_notes(struct elf_image *image) {
    struct elf_note note;
    for (size_t i = 0; elf_notes_at(image->file, image->bytes, i, &note); i++) {
        if (is_ours(&note) && note.type == HANDOFF_NOTE_FLAGS && note.description_bytes >= 4) {
            __builtin_memcpy(&image->note_flags, note.description, 4);
        } else if (text_equals(note.owner, note.owner_bytes, "GNU") && note.type == NOTE_BUILD_ID &&
                   note.description_bytes <= ELF_BUILD_ID_BYTES) {
            image->build_id_bytes = note.description_bytes;
            __builtin_memcpy(image->build_id, note.description, note.description_bytes);
        }
    }
}

bool elf_check(const void *file, size_t bytes, unsigned levels, struct elf_image *image_ret,
               struct message *why) {
    struct elf_image image = {.file = file, .bytes = bytes};
    struct elf64_header header;
    if (bytes < sizeof(header)) {
        return refuse(why, "ELF file is truncated inside its header");
    }
    __builtin_memcpy(&header, file, sizeof(header));
    if (!check_header(&header, bytes, why)) {
        return false;
    }
    image.entry = header.entry;
    for (unsigned i = 0; i < header.phnum; i++) {
        struct elf64_segment segment;
        __builtin_memcpy(&segment, image.file + header.phoff + i * sizeof(segment),
                         sizeof(segment));
        if (segment.type != SEGMENT_LOAD || segment.memsz == 0) {
            continue;
        }
        if (image.segment_count == HANDOFF_MAX_SEGMENTS) {
            return refuse(why, "more than 8 PT_LOAD segments");
        }
        if (!check_segment(&segment, i, bytes, levels, why)) {
            return false;
        }
        insert_segment(&image, &segment);
    }
    if (image.segment_count == 0) {
        return refuse(why, "no PT_LOAD segment: nothing to load");
    }
    const struct elf64_segment *top = &image.segments[image.segment_count - 1];
    image.first_page = image.segments[0].vaddr & ~(PAGE_BYTES - 1);
    image.last_page = (top->vaddr + top->memsz - 1) & ~(PAGE_BYTES - 1);
    if (!check_overlaps(&image, why) || !check_entry(&image, why)) {
        return false;
    }
    if (image.last_page - image.first_page >= ELF_MAX_SPAN_BYTES) {
        message_start(why, "the segments span more than 1 GiB: from ");
        message_hex(why, image.first_page);
        return false;
    }
    read_notes(&image);
    *image_ret = image;
    return true;
}

bool elf_next_access(const struct elf_image *image, size_t *cursor,
                     struct handoff_access *access_ret) {
    struct elf_note note;
    while (elf_notes_at(image->file, image->bytes, *cursor, &note)) {
        ++*cursor;
        if (is_ours(&note) && note.type == HANDOFF_NOTE_ACCESS &&
            note.description_bytes == sizeof(*access_ret)) {
            __builtin_memcpy(access_ret, note.description, sizeof(*access_ret));
            access_ret->name[sizeof(access_ret->name) - 1] = '\0';
            return true;
        }
    }
    return false;
}
