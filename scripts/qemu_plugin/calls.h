#pragma once

/** Which calls are under way on a CPU, by the blocks that it enters. */

#include "cpu.h"

/** Take it that a CPU goes on in a block that does not simply follow on `left`: called, returned
 * to, or an interrupt's. */
void calls_turn(struct cpu *cpu, const struct code *left, const struct code *now);

/** Take it that a CPU enters a block. */
static inline void calls_enter(struct cpu *cpu, const struct code *now) {
    const struct code *left = cpu->code;

    cpu->code = now;
    if (cpu->called == NULL &&
        (left == NULL ||
         ((now->first == left->target || now->first == left->next) && left->flow <= FLOW_JUMP))) {
        return;
    }
    if (left != NULL) {
        calls_turn(cpu, left, now);
    }
}
