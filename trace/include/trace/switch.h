/**
 * The one call: traces the machine, checks what the next instructions will meet under a new root,
 * says what is wrong in words, and switches.
 *
 * Freestanding, at CPL 0, in 64-bit mode, on one CPU with the others parked. Nothing is allocated
 * and nothing kept: all state is in the caller's buffer.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Of this interface: rises when a field changes its meaning. */
#define CR3SCOPE_INTERFACE 1

struct trace;

/**
 * A linear frame buffer, as GOP, Limine or Multiboot tell of it. Pixels are of direct colour, in
 * any order: what is drawn is black and white.
 */
struct cr3scope_framebuffer {
    uint64_t virt;          /* in the tables in force; 0: there is none */
    uint32_t width, height; /* pixels */
    uint32_t pitch;         /* bytes from one line to the next */
    uint32_t bits;          /* of a pixel: 16, 24 or 32 */
};

/** Rights of a range. None: it shall not be mapped (a guard page); if it is, that is told, and no
 * reason to stop. */
#define CR3SCOPE_READ 1u
#define CR3SCOPE_WRITE 2u
#define CR3SCOPE_EXECUTE 4u

/** What an address range is for; a zeroed array element that is filled in by name. */
struct cr3scope_range {
    const char *name; /* for people: "kernel text" */
    const char *role; /* docs/trace-format.md, "Roles"; NULL: none */
    uint64_t virt;    /* first byte, in the new tables */
    uint64_t bytes;   /* at least 1 */
    uint64_t phys;    /* where its first byte is; the rest follows without a gap */
    unsigned rights;  /* CR3SCOPE_READ, ..., exactly as they shall be */
    const char *type; /* memory type: "wb" "wt" "uc-" "uc" "wp" "wc"; NULL: "wb" */
    uint64_t caller;  /* an address behind the call that mapped it; 0: nobody has told */
};

enum cr3scope_kind { CR3SCOPE_FETCHES = 0, CR3SCOPE_READS = 1, CR3SCOPE_WRITES = 2 };

/** One of the first accesses of the kernel's code, in the order in which it makes them. */
struct cr3scope_access {
    const char *name;
    enum cr3scope_kind kind;
    uint64_t virt;
    uint64_t width; /* bytes, 1 to 1 MiB */
    uint64_t align; /* the instruction demands it, a power of two; 0: it demands none */
    uint64_t rip;   /* the instruction; 0: the entry. Of a fetch it is virt */
};

/** In which registers the entry finds the arguments. */
enum cr3scope_abi {
    CR3SCOPE_ABI_SYSV = 0,  /* RDI, RSI, RDX, RCX, R8, R9 */
    CR3SCOPE_ABI_MICROSOFT, /* RCX, RDX, R8, R9; 32 bytes above the return address are the callee's
                             */
};

#define CR3SCOPE_ARGUMENTS 6

/** What happens before and at the switch; `flags` of the request. */
#define CR3SCOPE_SAFE_IDT                                                                          \
    1u                       /* a GDT, TSS and IDT in the buffer: an exception is told, then halt  \
                              */
#define CR3SCOPE_SAFE_GDT 2u /* GDT and TSS alone */
#define CR3SCOPE_WARN 4u     /* go on though something is wrong */
#define CR3SCOPE_BREAKPOINT 8u  /* an int3 before the entry proves the IDT; needs the safe one */
#define CR3SCOPE_ALL_RANGES 16u /* `ranges` are all that is mapped: anything else is a finding */
#define CR3SCOPE_KERNEL_TRACES                                                                     \
    32u /* the kernel goes on with the trace: without its section the                              \
           capture is not whole */
#define CR3SCOPE_INTERRUPTS                                                                        \
    64u /* sti right before the switch, with CR3SCOPE_PENDING_VECTOR pending:                      \
           for tests of an IDT */
#define CR3SCOPE_PENDING_VECTOR 0x20
#define CR3SCOPE_REHEARSE                                                                          \
    128u /* after the check the CPU itself makes each planned access under the new root, and comes \
            back; the one-file library has it with CR3SCOPE_REHEARSAL */

/** For uart_port and debugcon_port. */
#define CR3SCOPE_NO_PORT 0xffffu

struct cr3scope_request {
    /* What is loaded. Addresses are virtual, in the new tables, but for the root. */
    uint64_t root; /* physical address of the new top table, perhaps with PWT and PCD, or a PCID */
    uint64_t stack_top; /* multiple of 16; the entry finds RSP = stack_top - 8 (Microsoft: - 40) */
    uint64_t entry;
    uint64_t arguments[CR3SCOPE_ARGUMENTS];
    enum cr3scope_abi abi;
    uint64_t rax; /* at the entry; as RCX where the ABI leaves that free */
    uint64_t cr0, cr4, efer,
        pat; /* 0: as they are, with WP, without PGE, with NXE if the CPU has it */

    /* The intent. */
    const struct cr3scope_range *ranges;
    size_t range_count;
    const struct cr3scope_access *accesses;
    size_t access_count; /* at most CR3SCOPE_MOST_ACCESSES */

    /*
     * How physical memory is read: by the callback, which returns the 512 entries of the page at
     * phys (valid until the next call) or NULL if that is no readable memory; without one, at
     * physical_offset + phys (0: identity map), after a look into the tables in force.
     */
    const uint64_t *(*read)(void *context, uint64_t phys);
    void *read_context;
    uint64_t physical_offset;
    /* Where the new tables lie, if together: garbage in them then leads the dump nowhere else. */
    uint64_t pool_phys, pool_bytes;

    /* CR3SCOPE_BUFFER_BYTES of memory, mapped at the same address in both address spaces. */
    void *buffer;
    size_t buffer_bytes;
    /* For walks over more tables than the buffer has room for; NULL: the buffer's. 24 bytes each.
     */
    void *scratch;
    size_t scratch_bytes;

    /* Where the trace goes: ports (0: COM1, the debug console), and the caller's own function. */
    uint16_t uart_port, debugcon_port;
#ifdef CR3SCOPE_UART_MEMORY
    /* A 16550 in memory, in the place of uart_port: its address, the same in both address spaces;
     * 0: none. Bytes from one register to the next (0: 1), and of an access (4, else 1). */
    uint64_t uart_memory;
    uint8_t uart_stride, uart_width;
#endif
    void (*write)(void *context, const char *bytes, size_t count);
    void *write_context;
    const char *producer; /* NULL: "kernel" */
    /* A trace that the caller has begun, and ends: then those above are not looked at. */
    struct trace *begun;

    /* Where what is wrong is drawn, and after a fatal exception (CR3SCOPE_SAFE_IDT) what the CPU
     * said: in words, and as QR codes that hold the trace. Needs CR3SCOPE_SCREEN where the
     * library is compiled. */
    struct cr3scope_framebuffer framebuffer;
    /* Memory, mapped in the tables in force, that a warm reset spares: the trace is kept in it in
     * the form of the codes (docs/trace-format.md, "Kept"). It is no memory of the buffer, of the
     * new tables or of a range with contents: else that is told, and nothing is kept. NULL: none.
     */
    void *keep;
    size_t keep_bytes;

    /* Findings in words; NULL: they go where the trace goes. */
    void (*tell)(void *context, const char *line);
    void *tell_context;

    unsigned flags;         /* CR3SCOPE_* */
    uint16_t gate_selector; /* of the safe IDT's gates; 0: that of its GDT. For tests */
};

/** The two fields of an array, for an initializer. */
#define CR3SCOPE_RANGES(array) .ranges = (array), .range_count = sizeof(array) / sizeof((array)[0])
#define CR3SCOPE_BUFFER(array) .buffer = (array), .buffer_bytes = sizeof(array)

#define CR3SCOPE_MOST_ACCESSES 45

/** What the rehearsal takes of the scratch memory, or of what a buffer has beyond
 * CR3SCOPE_BUFFER_FOR(0). */
#define CR3SCOPE_REHEARSAL_BYTES ((size_t)32768)

/** A buffer in which the page tables of both address spaces may have so many pages each. */
#define CR3SCOPE_BUFFER_FOR(tables) ((size_t)49152 + 24 * (size_t)(tables))
/** The default: 2048, which is 4 GiB in 4 KiB pages. */
#define CR3SCOPE_BUFFER_BYTES CR3SCOPE_BUFFER_FOR(2048)

enum cr3scope_status {
    CR3SCOPE_OK = 0,
    CR3SCOPE_FINDING, /* something is wrong with the tables, and was told */
    /* The request is of no use. */
    CR3SCOPE_BAD_BUFFER, /* none, or too small */
    CR3SCOPE_BAD_ROOT,   /* not aligned */
    CR3SCOPE_BAD_RANGE,  /* empty, wraps, or is not canonical */
    CR3SCOPE_BAD_ACCESS, /* empty, too wide, of no kind; or too many */
    CR3SCOPE_BAD_FLAGS,  /* unknown, or a breakpoint without the safe IDT */
    CR3SCOPE_BAD_CPU,    /* not in 64-bit mode with paging, or control registers that disagree */
    /* The switch cannot be made from here. */
    CR3SCOPE_MOVED,           /* its code or the buffer is mapped elsewhere in the new tables */
    CR3SCOPE_TOO_MANY_TABLES, /* the tables in force are more than the scratch memory holds */
    CR3SCOPE_NOT_CHECKED,     /* cr3scope_leave without a check that allowed it */
    CR3SCOPE_BAD_OFFSET,      /* the tables in force are not at physical_offset */
};

#define CR3SCOPE_WARN_UNUSED __attribute__((warn_unused_result))

/**
 * Traces, dumps and checks, all but the switch; nothing of the machine is changed.
 *
 * CR3SCOPE_FINDING: there are findings, which were told. Any other status than CR3SCOPE_OK: the
 * request is refused, for the reason that cr3scope_reason() has.
 */
enum cr3scope_status cr3scope_check(const struct cr3scope_request *request) CR3SCOPE_WARN_UNUSED;

/**
 * cr3scope_check with CR3SCOPE_REHEARSE: the CPU itself then loads the new root, with interrupts
 * off and exceptions caught, makes each access of the plan, and comes back to the old one.
 *
 * What it writes is what it read there; registers, tables (but for accessed and dirty bits) and
 * memory are as before. Where that cannot be done it says why, and nothing is rehearsed. An access
 * that the CPU refuses is told, and a finding.
 */
enum cr3scope_status cr3scope_rehearse(const struct cr3scope_request *request) CR3SCOPE_WARN_UNUSED;

/**
 * Checks and, where nothing is wrong or CR3SCOPE_WARN is set, turns interrupts off and switches:
 * then it does not return. Else the status of cr3scope_check, and nothing was changed.
 */
enum cr3scope_status cr3scope_switch(const struct cr3scope_request *request);

/**
 * The switch alone, after a cr3scope_check of this request: for loaders that have to leave their
 * firmware in between. Returns CR3SCOPE_NOT_CHECKED if the buffer holds no such check.
 */
enum cr3scope_status cr3scope_leave(const struct cr3scope_request *request);

/** Why the last check of this request did not return CR3SCOPE_OK: one line, NUL-terminated, in the
 * buffer. "" without a buffer. */
const char *cr3scope_reason(const struct cr3scope_request *request);

#ifdef __cplusplus
}
#endif
