/** The families of checks, one file each (docs/kernel.md says what each check proves). */
#pragma once

#include <stdbool.h>

#include "boot.h"

/** False: the boot info contradicts itself so far that no other family can be run. */
bool check_handoff(const struct boot *boot);
void check_cpu(const struct boot *boot);
/** The part of it that holds of each CPU. */
void check_control(void);
void check_segments(const struct boot *boot);
/** The part of it that holds of each CPU. */
void check_segment_rights(const struct boot *boot);
void check_stacks(const struct boot *boot);
void check_initrd(const struct boot *boot);
void check_framebuffer(const struct boot *boot);
void check_tables(const struct boot *boot);
void check_recursive(const struct boot *boot);
void check_memory_map(const struct boot *boot);
void check_dump(const struct boot *boot);
