/** The other CPUs: each is started, checks what it finds, and halts; one after another. */
#pragma once

#include "boot.h"

/** What CPU `index` is handed at its first instruction of C. */
struct processor {
    uint32_t index;
    const struct boot *boot;
    volatile uint32_t state; /* enum processor_state */
};

enum processor_state { PROCESSOR_AWAITED = 0, PROCESSOR_ARRIVED, PROCESSOR_DONE };

/** Starts them all; nothing where the loader names none. A CPU that does not come is a check that
 * fails. */
void processors_check(const struct boot *boot);
/** Traces which TSS the CPU loads; before it does, since LTR may refuse it. */
void processors_trace_task(const struct boot *boot, uint32_t index);
/** Where the loader's code for other CPUs jumps to: interrupts off, on the CPU's own stack. */
_Noreturn void processor_run(struct processor *self);
