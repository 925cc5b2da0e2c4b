/** After ExitBootServices: no firmware any more. */
#pragma once

struct boot;

/** Fills what is known only now, loads the descriptor tables, jumps. Interrupts are off. */
_Noreturn void leave_to_kernel(struct boot *boot);
