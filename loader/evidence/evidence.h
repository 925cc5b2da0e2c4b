/** What the analyzer judges: the tables before and after, descriptor tables, code bytes. */
#pragma once

#include <stdbool.h>

struct boot;

/**
 * Dumps the old and the new tables, descriptor tables and code, and compares the loaded kernel with
 * its file. After the rehearsal, which notes tables outside the pool. False: where and why the boot
 * is refused is in *boot.
 */
bool evidence_trace(struct boot *boot) __attribute__((warn_unused_result));
