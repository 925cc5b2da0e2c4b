/** The switch, rehearsed: the plan, and a walk of each step through the new tables (preflight). */
#pragma once

#include <stddef.h>

struct boot;

/**
 * Plans the switch and walks every step. *faults_ret: how many steps will fault; the first one is
 * then why the boot may be refused. tell: called with a line for a person about each of them.
 */
void rehearsal_run(struct boot *boot, size_t *faults_ret,
                   void (*tell)(void *context, const char *line), void *context);
