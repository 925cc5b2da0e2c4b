/**
 * Injected faults: what `inject=` does to an otherwise healthy boot (docs/faults.md).
 *
 * A fault is one row of the table in fault_table.c. Most rows are data: a range of some role that
 * is changed when it is mapped, or one entry that is edited when the tables are finished. The rest
 * have a small function for the moment at which they act.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "trace/message.h"

#define FAULTS_AT_ONCE 8

struct mapping;
struct address_space;
struct cr3scope_request;
struct elf_image;
struct cpu_state;
struct ap_start_data;
struct handoff_start;
struct handoff_stacks;

/** How a fault shows on QEMU's TCG. Tests judge a row by it. */
enum fault_shows {
    SHOWS_FAULT = 0, /* an exception after the switch, foreseen to the last detail */
    SHOWS_CHECK,     /* the switch survives, the kernel's own checks fail */
    SHOWS_RUNS,      /* nothing: it bites elsewhere or later */
    SHOWS_HANG,      /* the kernel never goes on */
    SHOWS_EARLY,     /* before the switch */
    SHOWS_DIVERGES,  /* the CPU goes on with other bytes than were meant */
    SHOWS_OTHER_CPU, /* another CPU dies on its way, and the machine with it */
};

/** What a range edit does to every range of its role. */
enum range_change {
    RANGE_LEFT_OUT = 0,
    RANGE_WITHOUT_LAST_PAGE,
    RANGE_ONE_FRAME_ON, /* each page leads to the next one's frame */
    RANGE_CACHED,       /* write-back memory */
};

struct range_edit {
    const char *role; /* NULL: the row edits no range */
    enum range_change change;
    unsigned without;   /* RIGHT_*: taken away; then `change` does not count */
    unsigned only_with; /* RIGHT_*: ranges that have one of them; 0: all */
};

/** Where an entry to be edited is: the path of one address, which spoil.c knows. */
enum fault_place {
    PLACE_NONE = 0,
    PLACE_TEXT,       /* the kernel's first page: its entry */
    PLACE_LAST_TEXT,  /* the last page of its text */
    PLACE_DATA,       /* its writable data */
    PLACE_STACK,      /* the top page of stack 0 */
    PLACE_TRAMPOLINE, /* the page that executes mov cr3 */
    PLACE_INFO,       /* the boot info */
    PLACE_FRAMEBUFFER,
    PLACE_RECURSIVE,    /* the recursive slot */
    PLACE_FIRMWARE_IDT, /* the first page of the firmware's IDT */
    PLACE_IDENTITY,     /* the middle of the full identity map */
    PLACES,
};

/** The address of a place that a boot does not have; no boot maps the page of it. */
#define PLACE_ABSENT_VIRT UINT64_MAX

struct entry_edit {
    enum fault_place place;
    unsigned level; /* of the entry; where a leaf is above that, the leaf; at most the top level */
    uint64_t set, clear;
};

/** What the functions on finished tables may look at. */
struct fault_scene {
    struct address_space *space;
    uint64_t places[PLACES]; /* virtual addresses, PLACE_ABSENT_VIRT: not in this boot */
    uint64_t tables_virt;    /* where the pool of tables is mapped */
};

/** What the functions on the other CPUs' start may change. */
struct fault_start {
    struct handoff_start *start;
    struct ap_start_data *data;
    uint8_t *code; /* the copy below 1 MiB */
    uint64_t code_bytes;
    uint64_t without_lidt; /* offset of the code behind the LIDT */
    const struct handoff_stacks *stacks;
};

struct fault {
    const char *id;      /* also that of the rule whose finding must come first */
    const char *variant; /* "" for the plain form */
    const char *description;
    const char *outcome; /* what the machine then does, in words */
    enum fault_shows shows;

    struct range_edit range;
    struct entry_edit entry;
    /* Each may be NULL. When the configuration has been read. */
    void (*configure)(struct config *config);
    /* When the kernel's segments have been copied to `bytes`. */
    void (*kernel)(const struct elf_image *kernel, uint8_t *bytes);
    /* When a range is about to be mapped: false leaves it out. */
    bool (*mapping)(struct mapping *mapping);
    /* When the tables are finished. */
    void (*tables)(const struct fault_scene *scene);
    /* When the handoff is about to happen: what it loads, and the rest of the CPU's state. */
    void (*handoff)(struct cr3scope_request *request);
    void (*state)(struct cpu_state *planned);
    /* When the other CPUs' start is prepared; not where there is none. */
    void (*start)(const struct fault_start *start);
};

struct fault_set {
    const struct fault *faults[FAULTS_AT_ONCE];
    size_t count;
};

extern const struct fault fault_table[];
extern const size_t fault_table_count;

/** list: ids, each `id` or `id:variant`, separated by commas; "" is the empty set. */
bool faults_parse(const char *list, struct fault_set *set_ret, struct message *why)
    __attribute__((warn_unused_result));

/** Each lets every fault of the set act, in the order of the list. A false leaves the range out. */
void faults_configure(const struct fault_set *set, struct config *config);
void faults_spoil_kernel(const struct fault_set *set, const struct elf_image *kernel,
                         uint8_t *bytes);
bool faults_adjust_mapping(const struct fault_set *set, struct mapping *mapping);
void faults_spoil_tables(const struct fault_set *set, const struct fault_scene *scene);
void faults_spoil_handoff(const struct fault_set *set, struct cr3scope_request *request);
void faults_spoil_state(const struct fault_set *set, struct cpu_state *planned);
void faults_spoil_start(const struct fault_set *set, const struct fault_start *start);
