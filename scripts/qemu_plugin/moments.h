#pragma once

/** The order in which things happened: moments, each some thousand stores, and the events between
 * them. */

#include <stdbool.h>

#include "cpu.h"

extern __attribute__((visibility("hidden"))) uint32_t moment_now;

/** An instruction that shapes the switch. */
struct shaping {
    uint64_t virt;
    enum event_kind kind;
    uint32_t times; /* that it was executed */
};

enum { MOMENT_STORES = 1 << 18 }; /* of a CPU */

/** Prepare; false if there is no memory. */
bool moments_begin(void);

/** Begin the next moment, as a CPU has done its stores. */
void moment_next(struct cpu *cpu);

/** Record that a CPU is about to execute an instruction that shapes the switch. */
void moment_event(struct cpu *cpu, struct shaping *shaping);

/** Return the number of a store, and what it stands for; the number is 0 if the file is full. */
struct recent_store moment_new_store(struct cpu *cpu, uint32_t instruction);

/** Return whether a number stands for a store by an instruction, in the call that is under way,
 * now. */
static inline bool moment_is_of(const struct recent_store *recent, const struct cpu *cpu,
                                uint32_t instruction) {
    return recent->moment == __atomic_load_n(&moment_now, __ATOMIC_RELAXED) &&
           recent->call == cpu->call && recent->instruction == instruction && recent->number != 0;
}

/** Return the number of a store by an instruction, in the call that is under way, now; 0 if the
 * file is full. */
static inline uint32_t moment_store(struct cpu *cpu, struct site *site) {
    if (!cpu_is_alone) {
        return moment_new_store(cpu, site->number).number;
    }
    if (__builtin_expect(!moment_is_of(&site->recent, cpu, site->number), 0)) {
        site->recent = moment_new_store(cpu, site->number);
    }
    return site->recent.number;
}
