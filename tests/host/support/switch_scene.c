#include "support/switch_scene.h"

#include "support/cmocka_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../trace/switch_state.h"

struct fake_memory *memory;
struct recording_sink *recording;
static struct trace trace;
uint8_t *buffer;
unsigned levels;
struct cr3scope_range ranges[3];
struct cr3scope_request request;

void map_both(uint64_t virt, uint64_t bits) {
    uint64_t page = virt & ~(PAGE_BYTES - 1);
    fake_switch_map(memory, FAKE_OLD_ROOT, levels, page, page, bits);
    fake_switch_map(memory, FAKE_NEW_ROOT, levels, page, page, bits);
}

void start(unsigned depth) {
    levels = depth;
    memory = fake_memory_new();
    recording = recording_sink_new();
    buffer = aligned_alloc(PAGE_BYTES, BUFFER_PAGES * PAGE_BYTES);
    assert_non_null(buffer);
    fake_switch_reset(memory, depth);
    trace_init(&trace);
    assert_true(trace_add_sink(&trace, &recording->sink));
    map_both((uint64_t)switch_first, ENTRY_PRESENT);
    map_both((uint64_t)exception_stubs, ENTRY_PRESENT);
    for (uint64_t at = 0; at < sizeof(struct switch_state); at += PAGE_BYTES) {
        map_both((uint64_t)buffer + at, LEAF_DATA);
    }
    fake_switch_map(memory, FAKE_NEW_ROOT, depth, STACK, 0x300000, LEAF_DATA);
    fake_switch_map(memory, FAKE_NEW_ROOT, depth, KERNEL, 0x400000, ENTRY_PRESENT);
    fake_switch_map(memory, FAKE_NEW_ROOT, depth, KERNEL + PAGE_BYTES, 0x401000, ENTRY_PRESENT);
    ranges[0] = (struct cr3scope_range){.name = "text",
                                        .role = "text",
                                        .virt = KERNEL,
                                        .bytes = 2 * PAGE_BYTES,
                                        .phys = 0x400000,
                                        .rights = CR3SCOPE_READ | CR3SCOPE_EXECUTE};
    ranges[1] = (struct cr3scope_range){.name = "stack",
                                        .role = "stack",
                                        .virt = STACK,
                                        .bytes = PAGE_BYTES,
                                        .phys = 0x300000,
                                        .rights = CR3SCOPE_READ | CR3SCOPE_WRITE};
    ranges[2] = (struct cr3scope_range){
        .name = "guard", .role = "guard", .virt = STACK - PAGE_BYTES, .bytes = PAGE_BYTES};
    request = (struct cr3scope_request){
        .root = FAKE_NEW_ROOT,
        .stack_top = STACK + PAGE_BYTES,
        .entry = KERNEL + 0x10,
        .arguments = {1, 2, 3, 4, 5, 6},
        .ranges = ranges,
        .range_count = 3,
        .read = memory->physical.table,
        .read_context = memory->physical.context,
        .buffer = buffer,
        .buffer_bytes = BUFFER_PAGES * PAGE_BYTES,
        .begun = &trace,
        .flags = CR3SCOPE_SAFE_IDT,
    };
}

void finish(void) {
    free(buffer);
    free(recording);
    fake_memory_free(memory);
}

bool has(const char *text) {
    return strstr(recording->bytes, text) != NULL;
}

void expect(enum cr3scope_status status, const char *reason) {
    enum cr3scope_status got = cr3scope_check(&request);
    if (got != status || strstr(cr3scope_reason(&request), reason) == NULL) {
        fail_msg("status %d, \"%s\" where %d, \"%s\" was due", got, cr3scope_reason(&request),
                 status, reason);
    }
    assert_false(fake_cpu_was_changed);
}

char told[200];

void keep_line(void *context, const char *line) {
    (void)context;
    snprintf(told, sizeof(told), "%s", line);
}
