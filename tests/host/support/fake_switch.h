/** The machine as the one call sees it on a host: registers, an old address space, the switch's
 * code. */
#pragma once

#include <setjmp.h>

#include "../../../trace/switch_rehearse.h"
#include "support/fake_memory.h"
#include "trace/cpu.h"

#define FAKE_OLD_ROOT UINT64_C(0x1000)
#define FAKE_NEW_ROOT UINT64_C(0x2000)

/** What cpu_read() gives. */
extern struct cpu_state fake_cpu;
/** Set by what would have changed the machine. */
extern bool fake_cpu_was_changed;

/** Where cpu_halt() goes; NULL: no test expects it. */
extern jmp_buf *fake_cpu_halted;

/** How often an NMI's own handler was called. */
extern unsigned fake_cpu_nmis;
/** Debug control. */
extern uint64_t fake_cpu_dr7;
/** What an access under the new root comes to, beside going through; NULL: all go through. */
extern void (*fake_rehearse)(struct switch_probe *probe);

/** A CPU in long mode whose old tables, in `memory`, are still empty but for the root. */
void fake_switch_reset(struct fake_memory *memory, unsigned levels);
/** Maps the page at virt to phys in the tables of a root; `bits` are those of the leaf. */
void fake_switch_map(struct fake_memory *memory, uint64_t root, unsigned levels, uint64_t virt,
                     uint64_t phys, uint64_t bits);
/** Sets U/S in every entry on the way of virt. */
void fake_switch_allow_user(struct fake_memory *memory, uint64_t root, unsigned levels,
                            uint64_t virt);
