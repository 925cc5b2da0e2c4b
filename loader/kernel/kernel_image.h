/** From the initrd to a kernel in memory. */
#pragma once

#include <stdbool.h>

struct boot;

/**
 * Finds the kernel in the initrd, checks it, copies it to fresh pages; allocates the boot info and
 * lists the segments there. False: where and why the boot is refused is in *boot.
 */
bool kernel_image_load(struct boot *boot) __attribute__((warn_unused_result));

/** Whether the kernel's notes say that it goes on with the trace. */
bool kernel_image_traces(const struct boot *boot);
