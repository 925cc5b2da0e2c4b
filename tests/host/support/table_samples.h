/** Synthetic page tables: each shape that a dump must survive, by name. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "support/fake_memory.h"

struct table_sample {
    const char *name;
    unsigned levels;
    /** Fills the memory and returns CR3. */
    uint64_t (*build)(struct fake_memory *memory);
};

extern const struct table_sample table_samples[];
extern const size_t table_sample_count;

/** A small random graph: few pages, entries that mostly point among them, every bit at random.
 * seed: not 0. */
uint64_t table_sample_random_graph(struct fake_memory *memory, uint64_t seed);

/** As OVMF maps 1 TiB: one PML4, 2 PDPTs, 1024 PDs of 2 MiB pages, one PT with NX that varies. */
uint64_t table_sample_firmware(struct fake_memory *memory);

/** 64 page tables of random words: nothing to gain by coding. */
uint64_t table_sample_incompressible(struct fake_memory *memory);
