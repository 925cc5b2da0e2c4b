/**
 * The contract between a loader and a kernel: what the kernel finds at its entry point.
 *
 * docs/handoff.md explains it in prose. Plain C, no dependency: a kernel may copy the file.
 */
#pragma once

#include <stdint.h>

/** First field of struct handoff: the bytes "CR3SCOPE" in memory order. */
#define HANDOFF_MAGIC UINT64_C(0x45504f4353335243)

/** Rises when a field changes its meaning. New fields at the end only make `size` grow. */
#define HANDOFF_VERSION 1

#define HANDOFF_MAX_SEGMENTS 8
#define HANDOFF_MAX_CPUS 64
#define HANDOFF_COMMAND_LINE_BYTES 128

/* Where the reference loader puts things (docs/memory-layout.md). The same for 4 and 5 levels. */
#define HANDOFF_INFO_VIRT UINT64_C(0xfffffc0000000000)
#define HANDOFF_LOCAL_APIC_VIRT UINT64_C(0xfffffb0000000000)
#define HANDOFF_FRAMEBUFFER_VIRT UINT64_C(0xfffffd0000000000)
#define HANDOFF_STACKS_VIRT UINT64_C(0xfffffe0000000000)
/** Index of the recursive slot in the top table, at either depth. */
#define HANDOFF_RECURSIVE_SLOT 510u

/** A range of memory that is mapped for the kernel. bytes == 0: there is none. */
struct handoff_range {
    uint64_t virt;
    uint64_t phys;
    uint64_t bytes;
};

enum handoff_pixel_format {
    HANDOFF_PIXEL_NONE = 0, /* no frame buffer */
    HANDOFF_PIXEL_BGRX = 1, /* 32 bits, blue in the lowest byte */
    HANDOFF_PIXEL_RGBX = 2, /* 32 bits, red in the lowest byte */
};

struct handoff_framebuffer {
    struct handoff_range range;
    uint32_t width;           /* pixels */
    uint32_t height;          /* pixels */
    uint32_t pixels_per_line; /* may be more than width */
    uint32_t format;          /* enum handoff_pixel_format */
};

struct handoff_segment {
    uint64_t virt; /* first byte, as in the ELF file */
    uint64_t phys; /* where that byte is */
    uint64_t filesz;
    uint64_t memsz;
    uint32_t flags; /* PF_X 1, PF_W 2, PF_R 4 */
    uint32_t reserved;
};

/** Every stack has the same size. Stack i: guard page(s) at virt + i*stride, unmapped; usable bytes
 * above. */
struct handoff_stacks {
    uint64_t virt;   /* of the first guard page */
    uint64_t stride; /* bytes from one stack to the next */
    uint64_t guard_bytes;
    uint64_t usable_bytes; /* guard_bytes + usable_bytes == stride */
    uint64_t phys;         /* of stack 0's first usable byte; usable parts are contiguous in phys */
};

/** Where the trace stands, so that the kernel can go on with it (docs/trace-format.md). */
struct handoff_trace {
    uint64_t bytes;         /* on the wire so far */
    uint32_t sequence;      /* of the next record */
    uint32_t crc;           /* CRC-32 over all records so far */
    uint16_t uart_port;     /* base I/O port of a 16550, 0: none */
    uint16_t debugcon_port; /* 0: none */
    uint32_t reserved;
};

/** A CPU that a kernel may use; the first is the boot CPU. */
struct handoff_cpu {
    uint32_t apic_id;
    uint32_t stack;     /* number of its stack */
    uint64_t stack_top; /* one past its last byte */
};

/**
 * How the other CPUs are started: a start-up interrupt with `vector` lets one run through `code`
 * into 64-bit mode, where it has the boot CPU's CR0, CR3, CR4, EFER and PAT, and on to `entry` of
 * `data`.
 */
struct handoff_start {
    struct handoff_range code;       /* below 1 MiB, identity-mapped, read-only; bytes == 0: none */
    struct handoff_range data;       /* right above, writable; begins with struct handoff_arrival */
    struct handoff_range local_apic; /* its registers; bytes == 0: reached by MSRs, or not at all */
    uint32_t vector;
    uint32_t cpu_count; /* that cpus[] tells of */
    struct handoff_cpu cpus[HANDOFF_MAX_CPUS];
};

/** What a kernel fills in before it starts a CPU; one at a time. */
struct handoff_arrival {
    uint64_t entry; /* entered with interrupts off, RSP = stack_top - 8, a return address of 0 */
    uint64_t stack_top;   /* of struct handoff_cpu */
    uint64_t argument;    /* RDI at the entry */
    uint16_t idt_limit;   /* what LIDT loads */
    uint16_t idt_base[4]; /* low word first */
    uint16_t reserved[3];
};

struct handoff {
    uint64_t magic;
    uint32_t version;
    uint32_t size; /* of this structure, bytes */

    uint32_t levels;    /* of the page tables: 4 or 5 */
    uint32_t cpu_count; /* also the number of stacks */
    uint64_t root_phys; /* of the top table */

    uint64_t recursive_virt; /* base of the recursive window: virt of the first leaf-table entry */
    uint32_t recursive_slot;
    uint32_t tables_crc; /* CRC-32 of the `tables` range's bytes at the switch, bits 6:5 (accessed,
                            dirty) of every 8-byte entry cleared */

    struct handoff_range self;       /* this structure */
    struct handoff_range tables;     /* the pool that holds every table page, mapped read-only */
    struct handoff_range initrd;     /* read-only */
    struct handoff_range memory_map; /* the final UEFI memory map, read-only */
    uint64_t memory_map_used;        /* bytes of it that are filled */
    uint32_t descriptor_size;        /* stride of the map: not sizeof */
    uint32_t descriptor_version;
    uint32_t initrd_crc; /* CRC-32 of its bytes */
    uint32_t segment_count;

    struct handoff_framebuffer framebuffer;
    struct handoff_stacks stacks;
    struct handoff_segment segments[HANDOFF_MAX_SEGMENTS];
    struct handoff_trace trace;

    uint64_t rsdp_phys;                            /* ACPI, 0: none */
    char command_line[HANDOFF_COMMAND_LINE_BYTES]; /* "kernel=" of cr3scope.cfg, NUL-terminated */
    struct handoff_start start;                    /* the other CPUs */
};

/*
 * What a kernel may say of itself in an ELF note (owner "CR3SCOPE"), so that its first accesses
 * join the plan.
 *
 * Type 1, description: one uint32_t of flags.
 * Type 2, description: one struct handoff_access; they join the plan in the order of the notes.
 */
#define HANDOFF_NOTE_OWNER "CR3SCOPE"
#define HANDOFF_NOTE_FLAGS 1u
#define HANDOFF_NOTE_ACCESS 2u

#define HANDOFF_FLAG_TRACES                                                                        \
    (1u << 0) /* the kernel goes on with the trace: its section must follow */

enum handoff_access_kind {
    HANDOFF_FETCH = 0,
    HANDOFF_READ = 1,
    HANDOFF_WRITE = 2,
    HANDOFF_WRITE_ALIGNED = 3, /* the address must be a multiple of the width, a power of two */
};
/** What `offset` is added to. */
enum handoff_access_base {
    HANDOFF_BASE_ABSOLUTE = 0,
    HANDOFF_BASE_INFO = 1,        /* the boot info address, RDI at entry */
    HANDOFF_BASE_STACK = 2,       /* RSP at entry (address of the pushed return address) */
    HANDOFF_BASE_FRAMEBUFFER = 3, /* skipped where there is none */
    HANDOFF_BASE_INITRD = 4,
    HANDOFF_BASE_MEMORY_MAP = 5,
    HANDOFF_BASE_FRAMEBUFFER_END =
        6, /* one past its range's last byte; skipped where there is none */
};

#define HANDOFF_MAX_ACCESS_BYTES (1u << 20)

struct handoff_access {
    uint64_t rip; /* link address of the instruction that makes the access; for a fetch, ignored */
    int64_t offset;
    uint32_t kind;  /* enum handoff_access_kind */
    uint32_t base;  /* enum handoff_access_base */
    uint32_t width; /* bytes, 1..HANDOFF_MAX_ACCESS_BYTES; over 8: read or written upwards by one
                       instruction */
    char name[36];  /* NUL-terminated */
};
