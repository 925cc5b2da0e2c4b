/**
 * For kernels that begin in 32-bit code (Multiboot): the way to long mode, where the one call is
 * made (switch.h). In assembly, which is for 32-bit code though it is in a 64-bit object: nothing
 * of it can be called from 64-bit code.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Of the memory: eight pages, wherever it begins. */
#define CR3SCOPE_CLIMB_BYTES 36864

#ifdef __i386__
/**
 * From protected mode with flat segments, paging and interrupts off, by the i386 C convention. Maps
 * the first 4 GiB where they are, with tables of `levels` (4 or 5) in `memory`, which is below 4
 * GiB and stays in use until other tables are loaded; calls entry(argument) there, in 64-bit code,
 * on the stack of now: in RDI and in RCX. Both numbers are physical addresses or whatever fits 32
 * bits.
 *
 * Does not return, but where it may not go on: then the reason, NUL-terminated, and nothing is
 * changed.
 */
const char *cr3scope_climb(void *memory, uint32_t levels, uint32_t entry, uint32_t argument);
#endif

#ifdef __cplusplus
}
#endif
