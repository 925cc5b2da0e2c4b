/* The rehearsal's steps: which probes an access takes, what they say, and who hears of it. */
#include "switch_rehearse.h"

#ifndef CR3SCOPE_NO_REHEARSAL
#include "trace/control_registers.h"
#include "trace/paging.h"

#define RETURN_NEAR 0xc3u
#define PUSH_BYTES 8u
#define MOVAPS_ALIGN 16u
#define STEPPED_BYTES 4u
#define DEBUG_ENABLED UINT64_C(0xff) /* of DR7: L0 to G3 (Intel SDM volume 3B, 19.2.4) */
#define INSTRUCTION_BYTES 15u        /* at most (Intel SDM volume 2A, 2.3.11) */

/* What has a message on its stack is not inlined: that would lie on the stack of all that its
 * caller calls. */
#define OWN_STACK __attribute__((noinline))

enum rehearsed_outcome { REHEARSED_OK, REHEARSED_FAULT, REHEARSED_UNTRIED };

struct rehearsed {
    enum rehearsed_outcome outcome;
    const char *why; /* of what was not tried */
    struct access_fault fault;
    uint64_t at; /* the address of the access, perhaps another one of the same page */
};

struct rehearsal {
    struct switch_state *state;
    struct rehearsal_page *page;
    struct physical_memory memory;
};

/* One access, there and back. True if it went through. */
static bool make_access(struct rehearsal *rehearsal, enum probe_kind kind, uint64_t virt) {
    struct switch_probe *probe = &rehearsal->page->probe;
    uint64_t debug_status = cpu_read_dr6();
    probe->virt = virt;
    probe->kind = (uint64_t)kind;
    probe->entered = 0;
    probe->loading = REHEARSED_CR0;
    probe->old_cr2 = cpu_read_cr2();
    rehearse_enter(probe);
    if (kind == PROBE_STEP) {
        cpu_write_dr6(debug_status);
    }
    return probe->vector == PROBE_WENT_THROUGH;
}

static void refused(const struct rehearsal *rehearsal, struct rehearsed *tried_ret) {
    const struct switch_probe *probe = &rehearsal->page->probe;
    __builtin_memset(&tried_ret->fault, 0, sizeof(tried_ret->fault));
    tried_ret->outcome = REHEARSED_FAULT;
    tried_ret->fault.vector = (uint8_t)probe->vector;
    tried_ret->fault.error_code = (uint32_t)probe->error_code;
    tried_ret->fault.cr2 = probe->vector == VECTOR_PAGE_FAULT ? probe->cr2 : 0;
    tried_ret->at = probe->virt;
}

static bool try_probe(struct rehearsal *rehearsal, enum probe_kind kind, uint64_t virt,
                      struct rehearsed *tried_ret) {
    if (make_access(rehearsal, kind, virt)) {
        return true;
    }
    refused(rehearsal, tried_ret);
    return false;
}

static bool untried(struct rehearsed *tried_ret, const char *why) {
    tried_ret->outcome = REHEARSED_UNTRIED;
    tried_ret->why = why;
    return false;
}

/* What is stored is what was read; a byte that cannot be read cannot be written either (Intel SDM
 * volume 3A, 5.6.1), and only a store says what a store raises. */
static bool try_write(struct rehearsal *rehearsal, uint64_t virt, bool is_push,
                      struct rehearsed *tried_ret) {
    bool is_readable = make_access(rehearsal, PROBE_READ, virt) &&
                       (!is_push || make_access(rehearsal, PROBE_READ, virt + PUSH_BYTES - 1));
    enum probe_kind kind = is_push ? PROBE_PUSH : PROBE_WRITE;
    enum probe_kind blind = is_push ? PROBE_PUSH_BLIND : PROBE_WRITE_BLIND;
    return try_probe(rehearsal, is_readable ? kind : blind, virt, tried_ret);
}

/* Whether the instruction in STEPPED_BYTES bytes changes nothing but registers, and not RSP: REX,
 * then one of ENDBR64, NOP, CLI, CLD, PUSH, POP, MOV of a constant, a jump or call by a constant,
 * or an operation between registers (Intel SDM volume 2D, appendix A). */
static bool is_harmless(const uint8_t *bytes) {
    static const uint8_t alone[] = {0x90, 0xfa, 0xfc, 0xe8, 0xe9, 0xeb, RETURN_NEAR};
    static const uint8_t between[] = {0x01, 0x03, 0x09, 0x0b, 0x21, 0x23, 0x29, 0x2b,
                                      0x31, 0x33, 0x39, 0x3b, 0x85, 0x89, 0x8b};
    if (bytes[0] == 0xf3 && bytes[1] == 0x0f && bytes[2] == 0x1e && bytes[3] == 0xfa) {
        return true;
    }
    size_t at = (bytes[0] & 0xf0) == 0x40 ? 1 : 0;
    uint8_t code = bytes[at];
    uint8_t operands = bytes[at + 1];
    if ((code & 0xf0) == 0x50 || (code & 0xf8) == 0xb8) {
        return (code & 7) != 4;
    }
    for (size_t i = 0; i < sizeof(alone); i++) {
        if (code == alone[i]) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof(between); i++) {
        if (code == between[i]) {
            return operands >= 0xc0 && (operands & 7) != 4 && (operands >> 3 & 7) != 4;
        }
    }
    return false;
}

/* The page that a walk leads to: its bytes, or NULL. */
static const uint8_t *page_of(struct rehearsal *rehearsal, uint64_t virt) {
    struct access read;
    struct access_fault fault;
    uint64_t phys = 0;
    read.virt = virt;
    read.width = 1;
    read.kind = ACCESS_READ;
    read.align = 0;
    if (!access_check(&rehearsal->state->paging, &rehearsal->memory, &read, &phys, &fault)) {
        return NULL;
    }
    return (const uint8_t *)(const void *)rehearsal->memory.table(rehearsal->memory.context,
                                                                  phys & ~(PAGE_BYTES - 1));
}

/* Of a page that no walk knows the CPU reads the bytes itself. Those beyond its end are zero. */
static bool try_unknown(struct rehearsal *rehearsal, uint64_t virt, struct rehearsed *tried_ret) {
    uint8_t bytes[STEPPED_BYTES] = {0, 0, 0, 0};
    for (size_t i = 0; i < STEPPED_BYTES && ((virt ^ (virt + i)) & ~(PAGE_BYTES - 1)) == 0; i++) {
        if (!make_access(rehearsal, PROBE_READ, virt + i)) {
            return try_probe(rehearsal, PROBE_STEP, virt,
                             tried_ret); /* neither is a fetch allowed */
        }
        bytes[i] = (uint8_t)rehearsal->page->probe.value;
    }
    if (!is_harmless(bytes)) {
        return untried(tried_ret, "the CPU reads it, though the walk is refused; it is not run");
    }
    return try_probe(rehearsal, PROBE_STEP, virt, tried_ret);
}

/* Where in the page of `virt` something may be run: a return is best, it is called. Offset within
 * the page; PAGE_BYTES if there is nothing. */
static uint64_t harmless_offset(const uint8_t *page, enum probe_kind *kind_ret) {
    *kind_ret = PROBE_CALL;
    for (uint64_t i = 0; i < PAGE_BYTES; i++) {
        if (page[i] == RETURN_NEAR) {
            return i;
        }
    }
    *kind_ret = PROBE_STEP;
    uint64_t offset = 0;
    while (offset + INSTRUCTION_BYTES <= PAGE_BYTES && !is_harmless(page + offset)) {
        offset++;
    }
    return offset + INSTRUCTION_BYTES <= PAGE_BYTES ? offset : PAGE_BYTES;
}

/* What is refused in one place of a page is so in all: then the instruction that is meant is
 * fetched, for its own CR2. */
static bool try_fetch(struct rehearsal *rehearsal, uint64_t virt, struct rehearsed *tried_ret) {
    const uint8_t *page = page_of(rehearsal, virt);
    enum probe_kind kind;
    if (page == NULL) {
        return try_unknown(rehearsal, virt, tried_ret);
    }
    uint64_t offset = harmless_offset(page, &kind);
    if (offset == PAGE_BYTES) {
        return untried(tried_ret, "its page holds no instruction that could be run for a trial");
    }
    return make_access(rehearsal, kind, (virt & ~(PAGE_BYTES - 1)) + offset) ||
           try_probe(rehearsal, PROBE_STEP, virt, tried_ret);
}

static bool try_misaligned(struct rehearsal *rehearsal, const struct plan_step *step,
                           struct rehearsed *tried_ret) {
    const struct cpu_state *planned = &rehearsal->state->planned;
    bool has_vectors = (planned->cr4 & CR4_OSFXSR) != 0 &&
                       (planned->cr0 & (CR0_EMULATION | CR0_TASK_SWITCHED)) == 0;
    if (step->access.align != MOVAPS_ALIGN || !has_vectors) {
        return untried(tried_ret, "no instruction here demands its alignment");
    }
    return try_probe(rehearsal, PROBE_ALIGNED, step->access.virt, tried_ret);
}

static bool try_byte(struct rehearsal *rehearsal, const struct plan_step *step, uint64_t virt,
                     struct rehearsed *tried_ret) {
    switch (step->access.kind) {
    case ACCESS_FETCH:
        return try_fetch(rehearsal, virt, tried_ret);
    case ACCESS_READ:
        return try_probe(rehearsal, PROBE_READ, virt, tried_ret);
    case ACCESS_WRITE:
        break;
    }
    return try_write(rehearsal, virt, step->is_push, tried_ret);
}

/* Once in each page that it touches. */
static void try_step(struct rehearsal *rehearsal, const struct plan_step *step,
                     struct rehearsed *tried_ret) {
    const struct access *access = &step->access;
    uint64_t virt = access->virt;
    uint64_t left = access->width;
    tried_ret->outcome = REHEARSED_OK;
    if (access->align > 1 && (virt & (access->align - 1)) != 0) {
        (void)try_misaligned(rehearsal, step, tried_ret);
        return;
    }
    while (left > 0 && try_byte(rehearsal, step, virt, tried_ret)) {
        uint64_t in_page = PAGE_BYTES - (virt & (PAGE_BYTES - 1));
        in_page = in_page < left && !step->is_push ? in_page : left;
        virt += in_page;
        left -= in_page;
    }
}

static void trace_state(struct trace *trace, const char *what, const char *why) {
    trace_open(trace, "rehearse");
    trace_text(trace, "state", what);
    if (why != NULL) {
        trace_text(trace, "why", why);
    }
    trace_close(trace);
}

static void trace_step(struct trace *trace, size_t number, const struct rehearsed *tried) {
    static const char outcomes[][8] = {"ok", "fault", "untried"};
    trace_open(trace, "rehearsal");
    trace_hex(trace, "step", number);
    trace_text(trace, "outcome", outcomes[tried->outcome]);
    if (tried->outcome == REHEARSED_FAULT) {
        trace_hex(trace, "vector", tried->fault.vector);
        trace_hex(trace, "error", tried->fault.error_code);
        trace_hex(trace, "cr2", tried->fault.cr2);
        trace_hex(trace, "virt", tried->at);
    } else if (tried->outcome == REHEARSED_UNTRIED) {
        trace_text(trace, "why", tried->why);
    }
    trace_close(trace);
}

static void start_line(struct message *line, const struct plan_step *step, size_t number) {
    message_start(line, "rehearsal: step ");
    message_decimal(line, number);
    message_text(line, " (");
    message_name(line, step->name, PLAN_NAME_BYTES);
    message_text(line, ") ");
}

/* Where the CPU does what the preflight says, its word is beside that; else it is news. */
static OWN_STACK void tell_step(struct rehearsal *rehearsal, const struct cr3scope_request *request,
                                size_t number, const struct rehearsed *tried) {
    struct switch_state *state = rehearsal->state;
    const struct plan_step *step = &state->plan.steps[number];
    struct access_fault foreseen;
    struct message line;
    bool is_allowed =
        access_check(&state->paging, &rehearsal->memory, &step->access, NULL, &foreseen);
    start_line(&line, step, number);
    if (tried->outcome == REHEARSED_UNTRIED) {
        message_text(&line, "is not tried: ");
        message_text(&line, tried->why);
    } else if (tried->outcome == REHEARSED_OK) {
        if (is_allowed) {
            return;
        }
        message_text(&line, "is allowed by the CPU itself, and by the preflight it is not");
    } else {
        message_text(&line, "is refused by the CPU itself: vector ");
        message_decimal(&line, tried->fault.vector);
        message_text(&line, " error ");
        message_hex(&line, tried->fault.error_code);
        message_text(&line, " at ");
        message_hex(&line, tried->fault.vector == VECTOR_PAGE_FAULT ? tried->fault.cr2 : tried->at);
        if (is_allowed && state->findings++ == 0) {
            state->why = line;
        }
    }
    switch_state_tell(state, request, line.text);
}

/* True if the new root could be loaded, with the control registers that are planned. */
static bool can_enter(struct rehearsal *rehearsal) {
    (void)make_access(rehearsal, PROBE_READ, rehearsal->page->probe.entry);
    return rehearsal->page->probe.entered != 0;
}

/* The switch loads the same: it would end there. What is told is what it loads, for the rehearsal
 * itself goes by a copy of the top table, and without PGE. */
static OWN_STACK void refuse_register(struct switch_state *state,
                                      const struct cr3scope_request *request,
                                      const struct switch_probe *probe) {
    static const char names[][5] = {"cr0", "cr4", "efer", "cr3"};
    const struct cpu_state *planned = &state->planned;
    const uint64_t values[] = {planned->cr0, planned->cr4, planned->efer, planned->cr3};
    struct message line;
    message_start(&line, "rehearsal: the CPU itself refuses the planned ");
    message_text(&line, names[probe->loading & 3]);
    message_text(&line, " ");
    message_hex(&line, values[probe->loading & 3]);
    message_text(&line, ": vector ");
    message_decimal(&line, probe->vector);
    message_text(&line, " error ");
    message_hex(&line, probe->error_code);
    trace_open(state->trace, "rehearse");
    trace_text(state->trace, "state", "refused");
    trace_text(state->trace, "why", "the CPU itself refuses a planned control register");
    trace_text(state->trace, "what", names[probe->loading & 3]);
    trace_hex(state->trace, "value", values[probe->loading & 3]);
    trace_hex(state->trace, "vector", probe->vector);
    trace_hex(state->trace, "error", probe->error_code);
    trace_close(state->trace);
    if (state->findings++ == 0) {
        state->why = line;
    }
    switch_state_tell(state, request, line.text);
}

static OWN_STACK void refuse(struct switch_state *state, const struct cr3scope_request *request,
                             const char *why) {
    struct message line;
    trace_state(state->trace, "refused", why);
    message_start(&line, "rehearsal: none is made: ");
    message_text(&line, why);
    switch_state_tell(state, request, line.text);
}

/* Translations with a PCID outlive a load of CR3; a change of PGE they do not (Intel SDM volume 3A,
 * 5.10.4.1). An NMI that came meanwhile gets its own handler now. */
static void clean_up(const struct rehearsal *rehearsal) {
    const struct switch_probe *probe = &rehearsal->page->probe;
    if (((probe->old_cr4 | probe->new_cr4) & CR4_PCIDE) != 0) {
        cpu_write_cr4(probe->old_cr4 ^ CR4_PGE);
        cpu_write_cr4(probe->old_cr4);
    }
    if (probe->nmis != 0) {
        cpu_raise_nmi();
    }
}

/* True if the new root can be loaded from here; else why not is told. Not inlined: its message
 * would lie on the stack of each step. */
static OWN_STACK bool begin(struct rehearsal *rehearsal, const struct cr3scope_request *request) {
    struct switch_state *state = rehearsal->state;
    struct message why;
    message_start(&why, "the root is of no use");
    rehearsal->page = state->has_root ? switch_window_make(state, request, &why) : NULL;
    if (rehearsal->page != NULL) {
        trace_state(state->trace, "begin",
                    NULL); /* if nothing follows, the CPU did not come back */
        if (can_enter(rehearsal)) {
            return true;
        }
        clean_up(rehearsal);
        refuse_register(state, request, &rehearsal->page->probe);
        return false;
    }
    refuse(state, request, why.text);
    return false;
}

static void rehearse_plan(struct switch_state *state, const struct cr3scope_request *request) {
    struct rehearsal rehearsal;
    rehearsal.state = state;
    rehearsal.memory = table_reader_memory(&state->reader);
    if (!begin(&rehearsal, request)) {
        return;
    }
    for (size_t i = 0; i < state->plan.count; i++) {
        struct rehearsed tried;
        try_step(&rehearsal, &state->plan.steps[i], &tried);
        trace_step(state->trace, i, &tried);
        tell_step(&rehearsal, request, i, &tried);
    }
    clean_up(&rehearsal);
    trace_state(state->trace, "end", NULL);
}

/* A debugger's breakpoint would be met under an IDT that knows no debugger: one on an instruction
 * for ever, for its #DB comes before it (Intel SDM volume 3B, 19.3.1.1). */
OWN_STACK void switch_rehearse(struct switch_state *state, const struct cr3scope_request *request) {
    uint64_t breakpoints = cpu_read_dr7();
    bool has_some = (breakpoints & DEBUG_ENABLED) != 0;
    if (has_some) {
        cpu_write_dr7(breakpoints & ~DEBUG_ENABLED);
    }
    rehearse_plan(state, request);
    if (has_some) {
        cpu_write_dr7(breakpoints);
    }
}
#endif
