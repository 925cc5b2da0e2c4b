/** The parts of ELF64 that a loader reads (System V ABI, chapters 4 and 5). */
#pragma once

#include <stdint.h>

#define ELF_CLASS_64 2
#define ELF_DATA_LITTLE 1
#define ELF_MACHINE_X86_64 62
#define ELF_TYPE_EXECUTABLE 2

#define SEGMENT_LOAD 1u
#define SEGMENT_NOTE 4u

#define SEGMENT_EXECUTE 1u
#define SEGMENT_WRITE 2u
#define SEGMENT_READ 4u

struct elf64_header {
    uint8_t ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, phoff, shoff;
    uint32_t flags;
    uint16_t ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};

struct elf64_segment {
    uint32_t type, flags;
    uint64_t offset, vaddr, paddr, filesz, memsz, align;
};

struct elf64_note {
    uint32_t name_bytes, description_bytes, type;
};
