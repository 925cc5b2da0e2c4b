#pragma once

/**
 * The file that the plugin writes, as it lies in memory: little-endian, sections at fixed places,
 * sparse.
 *
 * `scripts/analyze/cr3scope/input/writers/layout.py` reads it; a test compares the two. The file is
 * complete at any moment: whoever reads it after QEMU was killed has all that was written until
 * then.
 */

#include <stdint.h>

#define WRITERS_MAGIC UINT64_C(0x315352574f433352) /* "R3COWRS1" */
#define WRITERS_VERSION 2u

enum {
    MOST_INSTRUCTIONS = 1 << 20,
    MOST_CALLS = 1 << 22,
    MOST_STORES = 1 << 22,
    MOST_MOMENTS = 1 << 21,
    MOST_EVENTS = 1 << 16, /* a ring */
    MOST_BLOCKS = 1 << 20,
    MOST_CPUS = 256,
    TRAIL_LENGTH = 1 << 13, /* a ring: blocks, of which each ends with a branch, or runs on */
    MOST_PAGES = 1 << 23,
    PAGE_WORDS = 512,
};

/* A slot: the number of the last store to a word and, of one that touched no byte of its other
 * half, which half that is. */
#define SLOT_LOW (UINT32_C(1) << 30)
#define SLOT_HIGH (UINT32_C(1) << 31)
#define SLOT_STORE (SLOT_LOW - 1)

/** Numbers of the sections: that of each record is its place, from 1 on; 0 stands for none. */
enum section {
    SECTION_INSTRUCTIONS,
    SECTION_CALLS,
    SECTION_STORES,
    SECTION_MOMENTS,
    SECTION_EVENTS,
    SECTION_BLOCKS,
    SECTION_TRAILS,
    SECTION_PAGES,  /* which page each number stands for */
    SECTION_SLOTS,  /* PAGE_WORDS numbers of stores for each page */
    SECTION_VALUES, /* of the first pages: what each word was before its last store, and after it */
    SECTION_HALVES, /* PAGE_WORDS numbers of stores for pages with words that are written in halves
                     */
    SECTIONS,
};

struct header {
    uint64_t magic;
    uint32_t version;
    uint32_t api;
    uint32_t flags;
    uint32_t
        counts_ram; /* addresses are QEMU's own numbers of bytes of RAM; set by whoever reads */
    /* Set by whoever reads, while QEMU runs, as it knows the guest: how much may be kept of it, and
     * which addresses are RAM: those below `low_end`, and those from 4 GiB to `high_end`, where
     * QEMU has them `high_moved` lower. */
    uint64_t most_values;
    uint64_t most_halves;
    uint64_t low_end;
    uint64_t high_end;
    uint64_t high_moved;
    uint64_t events;           /* that have come, also those that the ring has lost */
    uint64_t counts[SECTIONS]; /* records of each section */
    uint64_t offsets[SECTIONS];
};

enum {
    FLAG_FULL = 2,    /* a section is full, or the disk: some stores are not recorded */
    FLAG_CPUS = 4,    /* more CPUs than can be told apart: theirs are not recorded */
    FLAG_CALLS = 8,   /* no more calls are kept */
    FLAG_BLOCKS = 16, /* no more blocks are kept */
    FLAG_HALVES =
        32, /* of some words it is not known who wrote the half that the last store left */
};

struct instruction {
    uint64_t virt;
    uint32_t size;
    uint32_t unused;
};

/** A call that is under way: of a tree, in which `parent` is the call in whose function it was
 * made. */
struct call {
    uint64_t virt; /* of the call instruction; of an interrupt, where it came */
    uint32_t parent;
    uint16_t size;
    uint16_t is_interrupt;
};

/** A store that some word of memory still holds: by which instruction, called by whom, when. */
struct store {
    uint32_t instruction;
    uint32_t call;
    uint32_t moment;
    uint32_t cpu;
};

/** MOMENT_STORES stores of a CPU, or all between two events; in order. `instructions`: that CPU's
 * own count. */
struct moment {
    uint64_t instructions;
    uint64_t event; /* number of the event that it is, from 1 on; 0 for none */
    uint32_t cpu;
    uint32_t unused;
};

enum event_kind {
    EVENT_NONE,
    EVENT_CR0,
    EVENT_CR3,
    EVENT_CR4,
    EVENT_CR8,
    EVENT_WRMSR,
    EVENT_LGDT,
    EVENT_LIDT,
    EVENT_LTR,
    EVENT_LLDT,
    EVENT_LMSW,
    EVENT_FAR_JUMP,
    EVENT_FAR_CALL,
    EVENT_FAR_RETURN,
    EVENTS,
    EVENT_TRANSLATION, /* none that is recorded: INVLPG, INVPCID, RSM */
};

/** Something that shapes the switch was about to be executed. */
struct event {
    uint64_t virt;
    uint32_t moment;
    uint16_t cpu;
    uint16_t kind;
    uint32_t call;
    uint32_t is_exact; /* else stores of the same moment came before it, or after */
};

struct block {
    uint64_t first;
    uint64_t last; /* the last instruction, which leaves it */
    uint32_t instructions;
    uint32_t last_size;
};

struct trail_entry {
    uint32_t block;
    uint32_t times;
};

struct trail {
    uint64_t entries; /* that have come; the ring has the last ones */
    uint64_t instructions;
    struct trail_entry ring[TRAIL_LENGTH];
};

struct page {
    uint64_t phys;
    uint32_t values; /* number of its values; 0 for none */
    uint32_t halves; /* number of its halves; 0 for none */
};

struct slots {
    uint32_t stores[PAGE_WORDS];
};

/** Who wrote that half of each word last which the last store to the word did not touch; 0 for
 * nobody. Holds where the slot names a half. */
struct halves {
    uint32_t stores[PAGE_WORDS];
};

/** What each word of a page was before its last store, and after it. What was there before the
 * first, nobody saw. */
struct values {
    uint64_t before[PAGE_WORDS];
    uint64_t after[PAGE_WORDS];
    uint64_t has_before[PAGE_WORDS / 64];
    uint64_t has_after[PAGE_WORDS / 64];
};
