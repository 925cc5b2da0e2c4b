/** What the handoff will load, and the CPU's state in the instant after `mov cr3`. */
#pragma once

struct boot;

/** Fills the handoff's arguments and the planned state of a boot whose tables are finished. */
void planned_state_make(struct boot *boot);
/** Carries the arguments over to the planned state, and its EFER back to them: what each may still
 * have been changed to. */
void planned_state_settle(struct boot *boot);
