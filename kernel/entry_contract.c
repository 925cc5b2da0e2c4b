#include <stddef.h>

#include "entry_contract.h"
#include "handoff.h"

#define SAME(number, expression) _Static_assert((number) == (expression), #number)

SAME(ENTRY_MAGIC, HANDOFF_MAGIC);
SAME(ENTRY_VERSION, HANDOFF_VERSION);

SAME(0, offsetof(struct handoff, magic));
SAME(ENTRY_INFO_VERSION, offsetof(struct handoff, version));
SAME(ENTRY_INFO_INITRD_VIRT, offsetof(struct handoff, initrd.virt));
SAME(ENTRY_INFO_MEMORY_MAP_VIRT, offsetof(struct handoff, memory_map.virt));
SAME(ENTRY_INFO_FRAMEBUFFER_VIRT, offsetof(struct handoff, framebuffer.range.virt));
SAME(ENTRY_INFO_FRAMEBUFFER_BYTES, offsetof(struct handoff, framebuffer.range.bytes));

SAME(ENTRY_NOTE_FLAGS, HANDOFF_NOTE_FLAGS);
SAME(ENTRY_NOTE_ACCESS, HANDOFF_NOTE_ACCESS);
SAME(ENTRY_FLAG_TRACES, HANDOFF_FLAG_TRACES);
SAME(ENTRY_ACCESS_BYTES, sizeof(struct handoff_access));
SAME(ENTRY_ACCESS_NAME_BYTES, sizeof(((struct handoff_access *)NULL)->name));
/* The order in which the `access` macro of entry.S emits the fields. */
SAME(0, offsetof(struct handoff_access, rip));
SAME(8, offsetof(struct handoff_access, offset));
SAME(16, offsetof(struct handoff_access, kind));
SAME(20, offsetof(struct handoff_access, base));
SAME(24, offsetof(struct handoff_access, width));
SAME(28, offsetof(struct handoff_access, name));

SAME(ENTRY_FETCH, (unsigned)HANDOFF_FETCH);
SAME(ENTRY_READ, (unsigned)HANDOFF_READ);
SAME(ENTRY_WRITE, (unsigned)HANDOFF_WRITE);
SAME(ENTRY_WRITE_ALIGNED, (unsigned)HANDOFF_WRITE_ALIGNED);

SAME(ENTRY_BASE_ABSOLUTE, (unsigned)HANDOFF_BASE_ABSOLUTE);
SAME(ENTRY_BASE_INFO, (unsigned)HANDOFF_BASE_INFO);
SAME(ENTRY_BASE_STACK, (unsigned)HANDOFF_BASE_STACK);
SAME(ENTRY_BASE_FRAMEBUFFER, (unsigned)HANDOFF_BASE_FRAMEBUFFER);
SAME(ENTRY_BASE_INITRD, (unsigned)HANDOFF_BASE_INITRD);
SAME(ENTRY_BASE_MEMORY_MAP, (unsigned)HANDOFF_BASE_MEMORY_MAP);
SAME(ENTRY_BASE_FRAMEBUFFER_END, (unsigned)HANDOFF_BASE_FRAMEBUFFER_END);

/* entry.S declares one read of the boot info: everything that it uses of it lies in the first page.
 */
_Static_assert(sizeof(struct handoff) <= 4096, "the boot info fits one page");
