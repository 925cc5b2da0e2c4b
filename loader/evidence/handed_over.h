/** What the kernel is handed, named in the trace whether it is mapped or not. */
#pragma once

struct boot;

/** Writes the `region` records of the boot info's ranges and of the stacks. */
void handed_over_trace(struct boot *boot);
