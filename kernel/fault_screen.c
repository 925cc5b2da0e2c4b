#include "fault_screen.h"

#include "tables.h"
#include "text.h"
#include "trace/cpu.h"
#include "trace/dump.h"
#include "trace/paging.h"
#include "trace/preflight.h"
#include "trace/screen_sink.h"

#define PIXEL_BYTES 4u
/* Shared tables and the recursive slot are met again: as check_dump.c has it, for a smaller boot.
 */
#define MAX_MEETINGS 4096

static const struct handoff *used;
static struct screen_sink sink;
static struct trace trace;
static struct qr qr;
static uint64_t scratch[DUMP_SCRATCH_WORDS(MAX_MEETINGS)];

void fault_screen_use(const struct handoff *handoff) {
    const struct handoff_framebuffer *found = &handoff->framebuffer;
    const struct cr3scope_framebuffer framebuffer = {
        .virt = found->range.virt,
        .width = found->width,
        .height = found->height,
        .pitch = found->pixels_per_line * PIXEL_BYTES,
        .bits = PIXEL_BYTES * 8,
    };
    struct screen screen;
    if (found->format == HANDOFF_PIXEL_NONE || screen_init(&screen, &framebuffer) != NULL) {
        return;
    }
    screen_sink_init(&sink, &screen);
    trace_init(&trace);
    (void)trace_add_sink(&trace, &sink.sink);
    used = handoff;
}

static void walk_lines(uint64_t virt) {
    uint64_t table = cpu_read_cr3() & ENTRY_FRAME_MASK;
    for (unsigned level = used->levels; level >= 1; level--) {
        const uint64_t *entries = tables_page(used, table);
        struct text line;
        if (entries == NULL) {
            text_set(&line, "  level %u: the table at %lx is not in the pool", level, table);
            screen_sink_line(&sink, line.bytes);
            return;
        }
        uint64_t entry = entries[level_index(virt, level)];
        text_set(&line, "  level %u entry %u = %lx", level, level_index(virt, level), entry);
        screen_sink_line(&sink, line.bytes);
        if ((entry & ENTRY_PRESENT) == 0 || entry_is_leaf(entry, level)) {
            return;
        }
        table = entry & ENTRY_FRAME_MASK;
    }
}

void fault_screen_show(const struct exception_frame *frame, const char *line) {
    struct cpu_state cpu;
    if (used == NULL) {
        return;
    }
    const struct physical_memory memory = tables_memory(used);
    screen_sink_line(&sink, line);
    cpu_read(&cpu);
    trace_begin(&trace, "kernel", CR3SCOPE_VERSION);
    cpu_trace(&trace, "entry", &cpu);
    exception_trace(&trace, "kernel", frame);
    (void)screen_sink_show(&sink, 0, &qr);
    /* The tables may be what is wrong: should reading them fault, the picture is there. */
    if (frame->vector == VECTOR_PAGE_FAULT) {
        walk_lines(cpu_read_cr2());
    }
    if (dump_write(&trace, "after", cpu.cr3, used->levels, &memory, scratch,
                   sizeof(scratch) / sizeof(scratch[0])) != DUMP_OK) {
        screen_sink_line(&sink, "  (of the page tables the codes hold what could be read)");
    }
    (void)screen_sink_show(&sink, 0, &qr);
}
