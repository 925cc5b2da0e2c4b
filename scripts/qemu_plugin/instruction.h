#pragma once

/** What an instruction does that shapes calls, or the switch: by its bytes alone. */

#include <stddef.h>
#include <stdint.h>

#include "layout.h"

enum flow {
    FLOW_OTHER,
    FLOW_JUMP,     /* to a place that the instruction itself names, or else to the next one */
    FLOW_INDIRECT, /* to a place that only the CPU knows */
    FLOW_CALL,
    FLOW_RETURN,
    FLOW_INTERRUPT_RETURN,
};

struct meaning {
    enum flow flow;
    enum event_kind event;
    int64_t offset; /* of a FLOW_JUMP: from the next instruction */
};

/**
 * Decode `size` bytes, which are one whole instruction, of any mode.
 *
 * Intel SDM volume 2, 2.1.1 (prefixes), appendix A (opcode maps).
 */
struct meaning instruction_meaning(const uint8_t *bytes, size_t size);
