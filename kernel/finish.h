/** The end of the run: QEMU's exit status where there is QEMU, a halt everywhere. */
#pragma once

#include <stdbool.h>

/** true: never end QEMU (an interactive run). The default is false. */
void finish_only_halts(bool only);
/** Nothing but the halt. */
_Noreturn void finish_by_halt(void);
/** QEMU's isa-debug-exit at port F4 makes the exit status 33 of a pass and 35 of a failure. */
_Noreturn void finish(bool passed);
