/**
 * What of handoff.h the assembler needs, as plain numbers; entry_contract.c makes the compiler
 * check each one.
 */
#pragma once

#define ENTRY_MAGIC 0x45504f4353335243
#define ENTRY_VERSION 1

#define ENTRY_INFO_VERSION 8
#define ENTRY_INFO_INITRD_VIRT 96
#define ENTRY_INFO_MEMORY_MAP_VIRT 120
#define ENTRY_INFO_FRAMEBUFFER_VIRT 168
#define ENTRY_INFO_FRAMEBUFFER_BYTES 184

#define ENTRY_NOTE_FLAGS 1
#define ENTRY_NOTE_ACCESS 2
#define ENTRY_FLAG_TRACES 1
#define ENTRY_ACCESS_BYTES 64
#define ENTRY_ACCESS_NAME_BYTES 36

#define ENTRY_FETCH 0
#define ENTRY_READ 1
#define ENTRY_WRITE 2
#define ENTRY_WRITE_ALIGNED 3

#define ENTRY_BASE_ABSOLUTE 0
#define ENTRY_BASE_INFO 1
#define ENTRY_BASE_STACK 2
#define ENTRY_BASE_FRAMEBUFFER 3
#define ENTRY_BASE_INITRD 4
#define ENTRY_BASE_MEMORY_MAP 5
#define ENTRY_BASE_FRAMEBUFFER_END 6

/* What initialised data holds before entry.S inverts it; any value but 0. */
#define ENTRY_DATA_MARK 0x63723373636f7065
