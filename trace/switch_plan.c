#include "switch_screen.h"
#include "switch_state.h"

#include "trace/control_registers.h"
#include "trace/paging.h"

#define VECTOR_BREAKPOINT 3
#define RETURN_BYTES 8u
/* What the Microsoft convention leaves to the callee (x64 calling convention, "shadow store"). */
#define SHADOW_BYTES 32u

/* Where each convention has the arguments, in the order of `struct switch_target`'s fields. */
static void place_arguments(struct switch_target *jump, const struct cr3scope_request *request) {
    const uint64_t *given = request->arguments;
    jump->rax = request->rax;
    if (request->abi == CR3SCOPE_ABI_MICROSOFT) {
        jump->rcx = given[0];
        jump->rdx = given[1];
        jump->r8 = given[2];
        jump->r9 = given[3];
        return;
    }
    jump->rdi = given[0];
    jump->rsi = given[1];
    jump->rdx = given[2];
    jump->rcx = given[3];
    jump->r8 = given[4];
    jump->r9 = given[5];
}

static uint64_t wanted_or(uint64_t wanted, uint64_t otherwise) {
    return wanted != 0 ? wanted : otherwise;
}

static void plan_state(struct switch_state *state, const struct cr3scope_request *request) {
    struct cpu_state *planned = &state->planned;
    uint64_t no_execute = (state->cpu.features & CPU_NX) != 0 ? EFER_NXE : 0;
    *planned = state->cpu;
    planned->cr0 = wanted_or(request->cr0, state->cpu.cr0 | CR0_WRITE_PROTECT);
    /* `mov cr3` spares global translations (SDM 3A, 5.10.4.1); with PGE off none is left over. */
    planned->cr4 = wanted_or(request->cr4, state->cpu.cr4 & ~CR4_PGE);
    planned->efer = wanted_or(request->efer, state->cpu.efer | no_execute);
    planned->pat = wanted_or(request->pat, state->cpu.pat);
    planned->cr3 = request->root;
    planned->rsp = state->jump.rsp;
    planned->rip = (uint64_t)switch_after_cr3;
    planned->rflags &= ~RFLAGS_IF;
    if ((request->flags & CR3SCOPE_INTERRUPTS) != 0) {
        planned->rflags |= RFLAGS_IF;
    }
    if ((request->flags & (CR3SCOPE_SAFE_IDT | CR3SCOPE_SAFE_GDT)) != 0) {
        safe_tables_planned(&state->safe, planned, (request->flags & CR3SCOPE_SAFE_IDT) != 0);
    }
}

static struct plan_step *add(struct switch_state *state, const char *name, enum access_kind kind,
                             uint64_t virt, uint64_t width, uint64_t rip) {
    struct access access;
    access.virt = virt;
    access.width = width;
    access.kind = kind;
    access.align = 0;
    return plan_add(&state->plan, name, &access, rip);
}

/* The switch's own steps always fit: they are the first. */
static void add_switch(struct switch_state *state, const struct cr3scope_request *request) {
    uint64_t after = (uint64_t)switch_after_cr3;
    if ((request->flags & CR3SCOPE_INTERRUPTS) != 0) {
        add(state, "pending interrupt", ACCESS_FETCH, after, 1, after)->vector =
            CR3SCOPE_PENDING_VECTOR;
    }
    add(state, "instruction after mov cr3", ACCESS_FETCH, after, (uint64_t)switch_code_end - after,
        after);
    add(state, "first push on the new stack", ACCESS_WRITE, state->jump.rsp - RETURN_BYTES,
        RETURN_BYTES, (uint64_t)switch_stack_write)
        ->is_push = true;
    if (state->breakpoint) {
        uint64_t int3 = (uint64_t)switch_breakpoint;
        add(state, "int3", ACCESS_FETCH, int3, 1, int3)->vector = VECTOR_BREAKPOINT;
    }
    add(state, "kernel entry", ACCESS_FETCH, request->entry, 1, request->entry);
}

void switch_plan_make(struct switch_state *state, const struct cr3scope_request *request) {
    bool microsoft = request->abi == CR3SCOPE_ABI_MICROSOFT;
    state->plan.count = 0;
    state->breakpoint = (request->flags & CR3SCOPE_BREAKPOINT) != 0;
    place_arguments(&state->jump, request);
    state->jump.cr3 = request->root;
    state->jump.rsp = request->stack_top - (microsoft ? SHADOW_BYTES : 0);
    state->jump.entry = request->entry;
    state->jump.flags = (state->breakpoint ? SWITCH_JUMP_BREAKPOINT : 0) |
                        ((request->flags & CR3SCOPE_INTERRUPTS) != 0 ? SWITCH_JUMP_INTERRUPTS : 0);
    plan_state(state, request);
    state->jump.efer = state->planned.efer;
    cpu_paging_state(&state->planned, &state->paging);
    add_switch(state, request);
    /* A count that will be refused may be anything: nothing is read by it. */
    bool has_accesses =
        request->accesses != NULL && request->access_count <= CR3SCOPE_MOST_ACCESSES;
    for (size_t i = 0; has_accesses && i < request->access_count; i++) {
        const struct cr3scope_access *access = &request->accesses[i];
        enum access_kind kind = access->kind == CR3SCOPE_FETCHES ? ACCESS_FETCH
                                : access->kind == CR3SCOPE_READS ? ACCESS_READ
                                                                 : ACCESS_WRITE;
        uint64_t rip = kind == ACCESS_FETCH ? access->virt : wanted_or(access->rip, request->entry);
        struct plan_step *step = add(state, access->name != NULL ? access->name : "access", kind,
                                     access->virt, access->width, rip);
        if (step != NULL) {
            step->access.align = access->align;
        }
    }
}

static void found(struct switch_state *state, const struct cr3scope_request *request,
                  const struct message *line) {
    switch_state_tell(state, request, line->text);
    /* The first one is the reason. */
    if (state->findings++ == 0) {
        state->why = *line;
    }
}

static void walk_plan(struct switch_state *state, const struct cr3scope_request *request,
                      const struct physical_memory *memory) {
    for (size_t i = 0; i < state->plan.count; i++) {
        const struct plan_step *step = &state->plan.steps[i];
        struct access_fault fault;
        bool ok = access_check(&state->paging, memory, &step->access, NULL, &fault);
        plan_trace_preflight(state->trace, i, ok ? NULL : &fault);
        if (!ok) {
            struct message line;
            plan_describe_fault(&line, step, i, &fault);
            found(state, request, &line);
            switch_screen_range(state, request, step->access.virt);
        }
    }
}

static void start_range(struct message *line, const struct cr3scope_range *range, uint64_t virt) {
    message_start(line, "preflight: range ");
    message_name(line, range->name != NULL ? range->name : "without a name", PLAN_NAME_BYTES);
    message_text(line, " at ");
    message_hex(line, virt);
}

/* Whether the page at virt allows what its range asks for, where it was asked to lead. */
static bool page_is_right(struct switch_state *state, const struct physical_memory *memory,
                          const struct cr3scope_range *range, uint64_t virt,
                          struct message *line_ret) {
    static const char refused[][28] = {" cannot be executed: error ", " cannot be read: error ",
                                       " cannot be written: error "};
    static const unsigned rights[] = {CR3SCOPE_EXECUTE, CR3SCOPE_READ, CR3SCOPE_WRITE};
    struct access access;
    struct access_fault fault;
    uint64_t phys = 0;
    access.virt = virt;
    access.width = 1;
    access.align = 0;
    for (unsigned kind = 0; kind < 3; kind++) {
        access.kind = (enum access_kind)kind;
        if ((range->rights & rights[kind]) != 0 &&
            !access_check(&state->paging, memory, &access, &phys, &fault)) {
            start_range(line_ret, range, virt);
            message_text(line_ret, refused[kind]);
            message_hex(line_ret, fault.error_code);
            plan_describe_entry(line_ret, &fault);
            return false;
        }
    }
    uint64_t wanted = range->phys + (virt - range->virt);
    if (phys == wanted) {
        return true;
    }
    start_range(line_ret, range, virt);
    message_text(line_ret, " leads to ");
    message_hex(line_ret, phys);
    message_text(line_ret, ", not to ");
    message_hex(line_ret, wanted);
    return false;
}

/* That it is mapped kills nobody: it is told, and no reason to stop. */
static bool guards(struct switch_state *state, const struct cr3scope_request *request,
                   const struct physical_memory *memory, const struct cr3scope_range *range,
                   uint64_t virt) {
    struct access read;
    struct access_fault fault;
    struct message line;
    uint64_t phys = 0;
    read.virt = virt;
    read.width = 1;
    read.kind = ACCESS_READ;
    read.align = 0;
    if (!access_check(&state->paging, memory, &read, &phys, &fault)) {
        return true;
    }
    start_range(&line, range, virt);
    message_text(&line, " is mapped, and shall not be: it leads to ");
    message_hex(&line, phys);
    switch_state_tell(state, request, line.text);
    return false;
}

/* One line a range: the first page that is wrong. Large pages and holes are one step each: a range
 * may be all of memory. */
static void walk_range(struct switch_state *state, const struct cr3scope_request *request,
                       const struct physical_memory *memory, const struct cr3scope_range *range) {
    uint64_t last = range->virt + range->bytes - 1;
    uint64_t virt = range->virt;
    for (;;) {
        struct message line;
        if (range->rights == 0) {
            if (!guards(state, request, memory, range, virt)) {
                return;
            }
        } else if (!page_is_right(state, memory, range, virt, &line)) {
            found(state, request, &line);
            switch_screen_range(state, request, virt);
            return;
        }
        uint64_t page_last = virt | (access_covers(&state->paging, memory, virt) - 1);
        if (page_last >= last) {
            return;
        }
        virt = page_last + 1;
    }
}

/* The first page from `first` to `last`, inclusive, that the new tables lead elsewhere than those
 * in force, or refuse such an access to: true. */
static bool is_elsewhere(struct switch_state *state, const struct physical_memory *memory,
                         enum access_kind kind, uint64_t first, uint64_t last, uint64_t *virt_ret,
                         bool *refused_ret) {
    for (uint64_t virt = first & ~(PAGE_BYTES - 1); virt <= last; virt += PAGE_BYTES) {
        struct access access;
        struct access_fault fault;
        uint64_t now = 0;
        uint64_t then = 0;
        access.virt = virt;
        access.width = 1;
        access.kind = kind;
        access.align = 0;
        bool is_allowed = access_check(&state->paging, memory, &access, &then, &fault);
        if (!table_reader_reaches(&state->reader, virt, 1, &now)) {
            continue; /* executable, and by SMAP not to be read: nothing is known */
        }
        if (!is_allowed || now != then) {
            *virt_ret = virt;
            *refused_ret = !is_allowed;
            return true;
        }
    }
    return false;
}

/* Who wants to go on whatever is wrong is warned of it; anybody else cannot go from here. */
static enum cr3scope_status moved(struct switch_state *state,
                                  const struct cr3scope_request *request, const char *what,
                                  uint64_t virt) {
    bool goes_on = (request->flags & CR3SCOPE_WARN) != 0;
    struct message line;
    message_start(&line, goes_on ? "preflight: " : "");
    message_text(&line, what);
    message_hex(&line, virt);
    message_text(&line, " is other memory under the new root");
    if (goes_on) {
        found(state, request, &line);
        return CR3SCOPE_OK;
    }
    state->why = line;
    return CR3SCOPE_MOVED;
}

/* Up to `mov cr3` the tables in force are walked with the control registers that are planned: SMEP
 * or SMAP may forbid what they allow now, and without NXE their bit 63 is reserved. */
static void check_departure(struct switch_state *state, const struct cr3scope_request *request,
                            const struct physical_memory *memory) {
    static const char names[][28] = {"the code of the switch", "the target of the switch"};
    struct paging_state then = state->paging;
    struct access needed[2] = {{(uint64_t)switch_first, 1, ACCESS_FETCH, 0},
                               {(uint64_t)&state->jump, sizeof(state->jump), ACCESS_READ, 0}};
    then.cr3 = state->cpu.cr3;
    for (size_t i = 0; i < 2; i++) {
        struct access_fault fault;
        struct message line;
        if (!access_check(&state->reader.current, memory, &needed[i], NULL, &fault) ||
            access_check(&then, memory, &needed[i], NULL, &fault)) {
            continue; /* nothing is known, or it stays allowed */
        }
        message_start(&line, "preflight: before mov cr3 ");
        message_text(&line, names[i]);
        message_text(&line, " will fault under the planned cr0, cr4 and efer: error ");
        message_hex(&line, fault.error_code);
        message_text(&line, " at ");
        message_hex(&line, fault.cr2);
        plan_describe_entry(&line, &fault);
        found(state, request, &line);
        return;
    }
}

/* What the safe IDT needs: that it is not there kills nobody who has no exception. */
static void warn_unmapped(struct switch_state *state, const struct cr3scope_request *request,
                          const char *what, uint64_t virt) {
    struct message line;
    message_start(&line, "preflight: ");
    message_text(&line, what);
    message_text(&line, " at ");
    message_hex(&line, virt);
    message_text(&line, " cannot be used under the new root: an exception cannot be told");
    switch_state_tell(state, request, line.text);
}

static enum cr3scope_status check_own(struct switch_state *state,
                                      const struct cr3scope_request *request,
                                      const struct physical_memory *memory) {
    uint64_t virt = 0;
    bool refused = false;
    if (is_elsewhere(state, memory, ACCESS_FETCH, (uint64_t)switch_first,
                     (uint64_t)switch_code_end - 1, &virt, &refused) &&
        !refused) {
        return moved(state, request, "the code of the switch at ", virt);
    }
    if ((request->flags & CR3SCOPE_SAFE_IDT) == 0) {
        return CR3SCOPE_OK;
    }
    uint64_t safe = (uint64_t)&state->safe;
    uint64_t written = safe + SAFE_TABLES_PAGES * PAGE_BYTES; /* its stack, and what it notes */
    if (is_elsewhere(state, memory, ACCESS_READ, safe, written - 1, &virt, &refused) ||
        is_elsewhere(state, memory, ACCESS_WRITE, written, safe + sizeof(*state) - 1, &virt,
                     &refused)) {
        if (!refused) {
            return moved(state, request, "the buffer at ", virt);
        }
        warn_unmapped(state, request, "the buffer", virt);
    }
    struct access handler;
    struct access_fault fault;
    handler.virt = (uint64_t)exception_stubs;
    handler.width = sizeof(exception_stubs);
    handler.kind = ACCESS_FETCH;
    handler.align = 0;
    if (!access_check(&state->paging, memory, &handler, NULL, &fault)) {
        warn_unmapped(state, request, "the handler of exceptions", handler.virt);
    }
    return CR3SCOPE_OK;
}

/* Whether there is a top table: without one nothing behind it can be told. A bit beyond MAXPHYADDR
 * is #GP(0) at mov cr3 itself (Intel SDM volume 2B, MOV to CR). */
static bool root_is_right(struct switch_state *state, const struct cr3scope_request *request,
                          const struct physical_memory *memory) {
    unsigned bits = state->paging.max_phys_bits;
    struct message line;
    message_start(&line, "preflight: ");
    if (bits < 64 && state->jump.cr3 >> bits != 0) {
        message_text(&line, "mov cr3 itself will fault: vector 13 error 0x0, the root ");
        message_hex(&line, state->jump.cr3);
        message_text(&line, " has bits at or above MAXPHYADDR, ");
        message_decimal(&line, bits);
    } else if (memory->table(memory->context, state->jump.cr3 & ENTRY_FRAME_MASK) == NULL) {
        message_text(&line, "the root ");
        message_hex(&line, state->jump.cr3);
        message_text(&line, " cannot be read");
        if (request->read == NULL) {
            message_text(&line, " at ");
            message_hex(&line, request->physical_offset + (state->jump.cr3 & ENTRY_FRAME_MASK));
            message_text(&line, ", where physical_offset has it");
        }
    } else {
        return true;
    }
    found(state, request, &line);
    return false;
}

/* System V ABI, AMD64 supplement, 3.2.2. Compiled code relies on it where it uses SSE: perhaps
 * never. */
static void warn_misaligned(struct switch_state *state, const struct cr3scope_request *request) {
    if ((request->stack_top & 15) != 0) {
        struct message line;
        message_start(&line, "preflight: stack_top ");
        message_hex(&line, request->stack_top);
        message_text(&line, " is no multiple of 16, as the entry of a C function expects");
        switch_state_tell(state, request, line.text);
    }
}

enum cr3scope_status switch_plan_preflight(struct switch_state *state,
                                           const struct cr3scope_request *request) {
    struct physical_memory memory = table_reader_memory(&state->reader);
    struct entry_registers entry;
    entry.rax = state->jump.rax;
    entry.rcx = state->jump.rcx;
    entry.rdx = state->jump.rdx;
    entry.rsi = state->jump.rsi;
    entry.rdi = state->jump.rdi;
    cpu_trace(state->trace, "handoff", &state->planned);
    cpu_trace_entry(state->trace, &entry);
    plan_trace(&state->plan, state->trace);
    state->findings = 0;
    warn_misaligned(state, request);
    check_departure(state, request, &memory);
    state->has_root = root_is_right(state, request, &memory);
    state->reader.notes = true;
    if (state->has_root) {
        walk_plan(state, request, &memory);
    }
    state->reader.notes = false;
    for (size_t i = 0; state->has_root && i < request->range_count; i++) {
        walk_range(state, request, &memory, &request->ranges[i]);
    }
    return state->has_root ? check_own(state, request, &memory) : CR3SCOPE_OK;
}
