/** What the switch will load. */
#pragma once

struct boot;

/** Fills the request for the switch, and the planned control registers, of a boot whose tables are
 * finished. */
void planned_state_make(struct boot *boot);
/** Carries the planned registers over to the request: what they may still have been changed to. */
void planned_state_settle(struct boot *boot);
