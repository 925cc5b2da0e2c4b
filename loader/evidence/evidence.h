/** What the analyzer judges: what the kernel announces, what was loaded, and the check of the
 * switch. */
#pragma once

#include <stdbool.h>

struct boot;

/**
 * Compares the loaded kernel with its file, and lets the library trace and check the switch of
 * boot->request. *will_fault_ret: there are findings, the first one is in boot->why. False: where
 * and why the boot is refused is in *boot.
 */
bool evidence_trace(struct boot *boot, bool *will_fault_ret) __attribute__((warn_unused_result));
