/** A healthy request on a fake machine, which each test spoils in its own way. */
#pragma once

#include "../../../trace/switch_jump.h"
#include "support/fake_switch.h"
#include "support/recording_sink.h"
#include "trace/control_registers.h"
#include "trace/paging.h"
#include "trace/safe_tables.h"
#include "trace/switch.h"

#define STACK UINT64_C(0xfffffe0000000000)
#define KERNEL UINT64_C(0xffffffff80000000)
#define RW (ENTRY_PRESENT | ENTRY_WRITABLE)
#define LEAF_DATA (RW | ENTRY_NO_EXECUTE)
#define BUFFER_PAGES (CR3SCOPE_BUFFER_BYTES / PAGE_BYTES)

extern struct fake_memory *memory;
extern struct recording_sink *recording;
extern uint8_t *buffer;
extern unsigned levels;
extern struct cr3scope_range ranges[3]; /* text, stack, guard */
extern struct cr3scope_request request;
extern char told[200]; /* the last line, once request.tell is keep_line */

/** Makes the machine and the request, with tables of `depth` levels. */
void start(unsigned depth);
void finish(void);
/** Maps a page at its own address in both spaces. */
void map_both(uint64_t virt, uint64_t bits);
/** Whether the trace has this text. */
bool has(const char *text);
/** Checks the request: the status, a part of the reason, and that the machine is as it was. */
void expect(enum cr3scope_status status, const char *reason);
void keep_line(void *context, const char *line);
