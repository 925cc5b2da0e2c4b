/** The new address space: what is mapped where, and with which rights (docs/memory-layout.md). */
#pragma once

#include <stdbool.h>

struct boot;

/**
 * Builds the new address space of a kernel that is loaded, and fills in the boot info where things
 * are. False: where and why the boot is refused is in *boot.
 */
bool mapping_build(struct boot *boot) __attribute__((warn_unused_result));
