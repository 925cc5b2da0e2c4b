/* What the one call draws: compiled to nothing without CR3SCOPE_SCREEN. */
#include "switch_screen.h"

#ifdef CR3SCOPE_SCREEN

#include "trace/control_registers.h"
#include "trace/msr.h"
#include "trace/paging.h"
#include "trace/port_io.h"

typedef char scratch_holds_a_code[sizeof(struct qr) <= 8 * 1024 ? 1 : -1];

/* The clock of every PC: port 70h chooses a register, 71h reads it; register 0 counts seconds. */
#define CLOCK_INDEX 0x70
#define CLOCK_DATA 0x71
#define SECONDS_A_PICTURE 4u
#define MOST_POLLS 2000000u /* of one second: a clock that stands still holds nobody up */
#define ROUNDS 100u         /* of all pictures; then the first one stays */

static struct qr *work_of(const struct switch_state *state) {
    return (struct qr *)(void *)state->scratch;
}

void switch_screen_open(struct switch_state *state, const struct cr3scope_request *request) {
    struct screen screen;
    bool is_wanted = request->framebuffer.virt != 0;
    const char *wrong = screen_init(&screen, &request->framebuffer);
    if (wrong == NULL && !switch_request_reads(state, request)) {
        wrong = "the scratch memory is of no use, or the tables in force cannot be read";
    } else if (wrong == NULL && !table_reader_takes(&state->reader, request->framebuffer.virt,
                                                    screen_bytes(&screen))) {
        wrong = "the tables in force do not let it be written";
    }
    if (is_wanted && wrong != NULL) {
        struct message line;
        message_start(&line, "screen: nothing is drawn on the frame buffer at ");
        message_hex(&line, request->framebuffer.virt);
        message_text(&line, ": ");
        message_text(&line, wrong);
        switch_state_say(state, line.text);
    }
    if (wrong == NULL || request->keep != NULL) {
        screen_sink_init(&state->screen, wrong == NULL ? &screen : NULL);
        (void)trace_add_sink(&state->own_trace, &state->screen.sink);
    }
}

void switch_screen_line(struct switch_state *state, const char *line) {
    struct screen_sink *sink = screen_sink_of(state->trace);
    if (sink != NULL) {
        screen_sink_line(sink, line);
    }
}

/* Of several that cover an address the last counts: its call wrote the entry. NULL: none does. */
static const struct cr3scope_range *range_at(const struct cr3scope_request *request,
                                             uint64_t virt) {
    for (size_t i = request->range_count; i > 0; i--) {
        const struct cr3scope_range *range = &request->ranges[i - 1];
        if (virt - range->virt < range->bytes) {
            return range;
        }
    }
    return NULL;
}

/* In which range it is, and who mapped it; the name alone says little where nobody has told. What
 * has no rights nobody has mapped. */
static void range_line(struct screen_sink *sink, const struct cr3scope_request *request,
                       uint64_t virt, bool needs_caller) {
    const struct cr3scope_range *range = range_at(request, virt);
    bool has_caller = range != NULL && range->caller != 0 && range->rights != 0;
    struct message line;
    if (range == NULL || (needs_caller && !has_caller)) {
        return;
    }
    message_start(&line, "  it is in the range ");
    message_name(&line, range->name != NULL ? range->name : "without a name", PLAN_NAME_BYTES);
    if (has_caller) {
        message_text(&line, ", mapped by the code before ");
        message_hex(&line, range->caller);
    }
    screen_sink_line(sink, line.text);
}

void switch_screen_range(struct switch_state *state, const struct cr3scope_request *request,
                         uint64_t virt) {
    struct screen_sink *sink = screen_sink_of(state->trace);
    if (sink != NULL) {
        range_line(sink, request, virt, true);
    }
}

static bool overlap(uint64_t first, uint64_t bytes, uint64_t other, uint64_t other_bytes) {
    return first - other < other_bytes || other - first < bytes;
}

/* Whether a range has contents of its own. Others, as all of memory at an offset, may cover what is
 * kept and harm nobody. */
static bool has_contents(const struct cr3scope_range *range) {
    static const char roles[][11] = {"text",       "rodata",     "data",   "kernel",
                                     "stack",      "boot-info",  "initrd", "tables",
                                     "memory-map", "trampoline", "ist"};
    for (size_t i = 0; range->role != NULL && i < sizeof(roles) / sizeof(roles[0]); i++) {
        size_t at = 0;
        while (roles[i][at] != '\0' && roles[i][at] == range->role[at]) {
            at++;
        }
        if (roles[i][at] == range->role[at]) {
            return true;
        }
    }
    return false;
}

/* The memory of the new address space that a page would be kept in; false: in none. */
static bool is_in_use(const struct cr3scope_request *request, uint64_t phys,
                      struct message *why_ret) {
    uint64_t root = request->root & ENTRY_FRAME_MASK;
    message_start(why_ret, "it is memory of ");
    if (overlap(phys, PAGE_BYTES, root, PAGE_BYTES) ||
        overlap(phys, PAGE_BYTES, request->pool_phys, request->pool_bytes)) {
        message_text(why_ret, "the new page tables");
        return true;
    }
    for (size_t i = 0; i < request->range_count; i++) {
        const struct cr3scope_range *range = &request->ranges[i];
        if (has_contents(range) && range->rights != 0 &&
            overlap(phys, PAGE_BYTES, range->phys, range->bytes)) {
            message_text(why_ret, "the range ");
            message_name(why_ret, range->name != NULL ? range->name : "without a name",
                         PLAN_NAME_BYTES);
            return true;
        }
    }
    return false;
}

/* Held against the tables in force, by which it is written, and the memory of the new ones, which
 * would be written over before the switch, or write over what is kept. */
static bool can_keep(struct switch_state *state, const struct cr3scope_request *request,
                     struct message *why_ret) {
    uint64_t virt = (uint64_t)(uintptr_t)request->keep;
    uint64_t bytes =
        request->keep_bytes < PHOTO_KEPT_BYTES ? request->keep_bytes : PHOTO_KEPT_BYTES;
    uint64_t phys;
    if (virt + bytes < virt || !table_reader_takes(&state->reader, virt, bytes)) {
        message_start(why_ret, "the tables in force do not let it be written");
        return false;
    }
    if (overlap(virt, bytes, (uint64_t)(uintptr_t)request->buffer, request->buffer_bytes) ||
        (request->scratch != NULL &&
         overlap(virt, bytes, (uint64_t)(uintptr_t)request->scratch, request->scratch_bytes))) {
        message_start(why_ret, "it is memory of the buffer");
        return false;
    }
    for (uint64_t at = virt & ~(PAGE_BYTES - 1); at < virt + bytes; at += PAGE_BYTES) {
        if (table_reader_reaches(&state->reader, at, 1, &phys) &&
            is_in_use(request, phys, why_ret)) {
            return false;
        }
    }
    return true;
}

/* Not inlined: its messages would lie on the stack of all that follows. */
static __attribute__((noinline)) void hold_keep(struct switch_state *state,
                                                const struct cr3scope_request *request) {
    struct message why;
    struct message line;
    state->keeps = false;
    if (request->keep == NULL) {
        return;
    }
    if (can_keep(state, request, &why)) {
        state->keeps = true;
        return;
    }
    message_start(&line, "keep: nothing is kept at ");
    message_hex(&line, (uint64_t)(uintptr_t)request->keep);
    message_text(&line, ": ");
    message_text(&line, why.text);
    switch_state_tell(state, request, line.text);
}

static void keep_trace(const struct switch_state *state, const struct screen_sink *sink,
                       const struct cr3scope_request *request) {
    if (state->keeps &&
        photo_keep(&sink->photo, sink->text, sink->used, request->keep, request->keep_bytes) != 0) {
        cpu_write_back(); /* a reset throws caches away unwritten */
    }
}

/* Of another request the ranges may be anything, and nobody asks for its boot later. */
static bool is_judged(enum cr3scope_status checked) {
    return checked == CR3SCOPE_OK || checked == CR3SCOPE_FINDING || checked == CR3SCOPE_MOVED;
}

void switch_screen_checked(struct switch_state *state, const struct cr3scope_request *request,
                           enum cr3scope_status checked, bool goes_on) {
    struct screen_sink *sink = screen_sink_of(state->trace);
    if (sink == NULL) {
        return;
    }
    if (is_judged(checked)) {
        hold_keep(state, request);
        keep_trace(state, sink, request);
    }
    if (goes_on && state->findings == 0) {
        return; /* the screen is the kernel's */
    }
    screen_sink_line(sink, goes_on ? "cr3scope: the switch is made all the same"
                                   : "cr3scope: the switch is not made");
    (void)screen_sink_show(sink, 0, work_of(state));
}

void switch_screen_wait(struct switch_state *state) {
    struct screen_sink *sink = screen_sink_of(state->trace);
    if (sink != NULL) {
        sink->waits = true;
    }
}

/*
 * Under the new root neither frame buffer nor tables need be mapped; under that of before both are,
 * and so is all that the library is. What the new state forbids there is turned off first: NX stays
 * on, for bit 63 is reserved without (Intel SDM volume 3A, 5.4.2); PGE goes, and with it global
 * translations (5.10.4.1).
 */
static void go_back(const struct switch_state *state) {
    uint64_t off = CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE | CR4_CET | CR4_PKS;
    cpu_write_cr4(state->cpu.cr4 & ~off);
    cpu_write_cr0(state->cpu.cr0 & ~CR0_WRITE_PROTECT);
    if ((state->cpu.features & CPU_NX) != 0) {
        msr_write(MSR_EFER, msr_read(MSR_EFER) | EFER_NXE);
    }
    cpu_write_cr3(state->cpu.cr3);
}

/* "PT[3]   0x12a018 = 0x800000000012a001  P R- NX  <- refuses it" */
static void entry_line(struct message *line, const struct access_fault *refused, unsigned level,
                       uint64_t phys, uint64_t entry) {
    static const char names[][5] = {"PT", "PD", "PDPT", "PML4", "PML5"};
    message_start(line, "  ");
    message_text(line, names[level - 1]);
    message_text(line, "[");
    message_decimal(line, phys % PAGE_BYTES / sizeof(entry));
    message_text(line, "] at ");
    message_hex(line, phys);
    message_text(line, " = ");
    message_hex(line, entry);
    message_text(line, (entry & ENTRY_PRESENT) != 0 ? " P" : " not present");
    if ((entry & ENTRY_PRESENT) != 0) {
        message_text(line, (entry & ENTRY_WRITABLE) != 0 ? " W" : "");
        message_text(line, (entry & ENTRY_USER) != 0 ? " U" : "");
        message_text(line, (entry & ENTRY_NO_EXECUTE) != 0 ? " NX" : "");
    }
    message_text(line, refused->level == level ? "  <- refuses it" : "");
}

static void walk_lines(struct switch_state *state, struct screen_sink *sink,
                       const struct paging_state *paging, uint64_t virt, uint64_t error) {
    struct physical_memory memory = table_reader_memory(&state->reader);
    struct access_fault refused;
    struct access access;
    uint64_t phys = 0, table = paging->cr3 & ENTRY_FRAME_MASK;
    access.virt = virt;
    access.width = 1;
    access.align = 0;
    access.kind = (error & FAULT_FETCH) != 0   ? ACCESS_FETCH
                  : (error & FAULT_WRITE) != 0 ? ACCESS_WRITE
                                               : ACCESS_READ;
    __builtin_memset(&refused, 0, sizeof(refused));
    bool allowed = access_check(paging, &memory, &access, &phys, &refused);
    for (unsigned level = paging->levels; level >= 1; level--) {
        const uint64_t *entries = memory.table(memory.context, table);
        struct message line;
        if (entries == NULL) {
            message_start(&line, "  the table at ");
            message_hex(&line, table);
            message_text(&line, " is no memory that can be read");
            screen_sink_line(sink, line.text);
            return;
        }
        uint64_t entry = entries[level_index(virt, level)];
        entry_line(&line, &refused, level, table + level_index(virt, level) * sizeof(entry), entry);
        screen_sink_line(sink, line.text);
        if ((entry & ENTRY_PRESENT) == 0 || entry_is_leaf(entry, level)) {
            break;
        }
        table = entry & ENTRY_FRAME_MASK;
    }
    if (allowed) {
        screen_sink_line(sink, "  the tables allow this access now");
    }
}

static void show_in_turn(struct screen_sink *sink, struct qr *qr) {
    uint32_t pictures = screen_sink_show(sink, 0, qr);
    for (uint32_t turn = 1; pictures > 1 && turn <= ROUNDS * pictures; turn++) {
        for (unsigned seconds = 0; seconds < SECONDS_A_PICTURE; seconds++) {
            port_out8(CLOCK_INDEX, 0);
            uint8_t now = port_in8(CLOCK_DATA);
            for (unsigned polls = 0; polls < MOST_POLLS && port_in8(CLOCK_DATA) == now; polls++) {
            }
        }
        (void)screen_sink_show(sink, turn, qr);
    }
}

void switch_screen_fault(struct switch_state *state, const struct exception_frame *frame,
                         const char *line) {
    struct screen_sink *sink = screen_sink_of(state->trace);
    const struct cr3scope_request *request =
        (const struct cr3scope_request *)(uintptr_t)state->checked;
    uint64_t virt = cpu_read_cr2();
    struct paging_state paging = state->paging;
    if (sink == NULL || request == NULL) {
        return;
    }
    screen_sink_take(sink, state->trace->line, state->trace->length);
    paging.cr3 = cpu_read_cr3();
    go_back(state);
    screen_sink_forget_lines(sink);
    screen_sink_line(sink, line);
    if (frame->vector == VECTOR_PAGE_FAULT) {
        walk_lines(state, sink, &paging, virt, frame->error_code);
        range_line(sink, request, virt, false);
    }
    keep_trace(state, sink, request);
    show_in_turn(sink, work_of(state));
}

#endif
