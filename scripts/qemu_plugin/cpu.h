#pragma once

/** What is known of each CPU while it runs. Only its own thread touches it. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "instruction.h"
#include "layout.h"

enum {
    RECENT = 1 << 13,
    TRANSLATIONS = 1 << 6,
    TRUSTED_BLOCKS = 64, /* for which a translation is taken to hold, as the CPU's own TLB would */
};

/** Which number a store got: by an instruction, in a call, at a moment. */
struct recent_store {
    uint32_t instruction;
    uint32_t call;
    uint32_t moment;
    uint32_t number;
};

/** An instruction that stores. */
struct site {
    uint32_t number; /* in the file; 0 if that is full */
    uint32_t is_call;
    uint64_t virt;
    uint64_t next;
    struct recent_store
        recent;         /* only where there is one CPU: others would write to it at the same time */
    uint64_t last_size; /* what QEMU told of its last store, and how many bytes that means: 0 before
                           the first */
};

/** A block of instructions that QEMU has translated: entered at its first, left behind its last, or
 * within. */
struct code {
    uint64_t first;
    uint64_t last;
    uint64_t next;   /* behind its last instruction */
    uint64_t target; /* of a jump that names it; else the same as `next` */
    uint32_t number; /* in the file; 0 if that is full */
    uint32_t instructions;
    enum flow flow;
};

struct recent_call {
    uint64_t virt;
    uint32_t parent;
    uint32_t number;
};

/** Where a page of virtual addresses led to. */
struct translation {
    uint64_t virt;  /* of the page, plus 1; 0 for none */
    uint64_t until; /* the trail's length up to which it holds */
    struct page_at *page;
};

struct cpu {
    uint32_t number;
    uint32_t call;             /* that is under way; 0 for none that is known */
    const struct site *called; /* by the instruction that has just been executed */
    const struct code *code;   /* that was entered last */
    struct trail *trail;
    struct trail_entry *last; /* of the trail */
    uint32_t stores_left;     /* until the next moment */
    struct translation translations[TRANSLATIONS];
    struct recent_store stores[RECENT];
    struct recent_call calls[RECENT];
};

extern __attribute__((visibility("hidden"))) struct cpu *cpus[MOST_CPUS];
extern __attribute__((
    visibility("hidden"))) bool cpu_is_alone; /* the machine has one CPU, and can get no more */

/** Return a CPU that was not met before; NULL if there are too many. */
struct cpu *cpu_new(unsigned int number);

/** Forget where addresses led to: the CPU may translate them anew. */
void cpu_forget(struct cpu *cpu);

/** Return a CPU by QEMU's number; NULL if there are too many. */
static inline struct cpu *cpu_at(unsigned int number) {
    struct cpu *cpu = number < MOST_CPUS ? cpus[number] : NULL;

    return __builtin_expect(cpu != NULL, 1) ? cpu : cpu_new(number);
}
