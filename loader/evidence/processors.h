/** How the other CPUs are started: what the trace says of it. */
#pragma once

struct boot;

/** Writes the `startup` record, an `ap` record for each CPU, and the bytes of the code and data;
 * nothing where no CPU can be started. */
void processors_trace(struct boot *boot);
