/** Run coding of 64-bit words: planes of a page table and of a descriptor table. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "data_stream.h"

/** A sequence of words, wherever they are. */
struct word_plane {
    uint64_t (*word)(const void *context, size_t index);
    const void *context;
    size_t count;
};

/** Writes the plane as runs of constant stride (docs/trace-format.md, "Entries", plane 1). */
void words_encode(struct data_stream *stream, const struct word_plane *plane);
