#include "switch_state.h"

#include "trace/dump.h"
#include "trace/paging.h"

/* Tables outside the pool that the dump follows: over a serial line each costs a tenth of a second.
 */
#define MAX_STRAY_TABLES 256u
/* Bytes of code kept at the kernel's entry. */
#define ENTRY_BYTES 64u
#define GATE_PLANES 2u

static void trace_name(struct trace *trace, const char *key, const char *name) {
    char cut[PLAN_NAME_BYTES];
    plan_name(cut, name != NULL ? name : "");
    trace_text(trace, key, cut);
}

static void trace_range(struct switch_state *state, const struct cr3scope_range *range) {
    char rights[4];
    rights[0] = (range->rights & CR3SCOPE_READ) != 0 ? 'r' : '-';
    rights[1] = (range->rights & CR3SCOPE_WRITE) != 0 ? 'w' : '-';
    rights[2] = (range->rights & CR3SCOPE_EXECUTE) != 0 ? 'x' : '-';
    rights[3] = '\0';
    trace_open(state->trace, range->rights != 0 ? "map" : "region");
    trace_name(state->trace, "name", range->name);
    trace_name(state->trace, "role", range->role);
    trace_hex(state->trace, "virt", range->virt);
    trace_hex(state->trace, "last", range->virt + range->bytes - 1);
    if (range->rights != 0) {
        trace_hex(state->trace, "phys", range->phys);
        trace_text(state->trace, "rights", rights);
        trace_hex(state->trace, "size", PAGE_BYTES);
        trace_text(state->trace, "type", range->type != NULL ? range->type : "wb");
        trace_hex(state->trace, "caller", range->caller);
    }
    trace_close(state->trace);
}

/* Where a part of the library lies now; what the new tables make of it is judged against that. */
static void trace_own(struct switch_state *state, const char *name, const char *role,
                      uint64_t first, uint64_t end) {
    uint64_t phys = 0;
    trace_open(state->trace, "region");
    trace_text(state->trace, "name", name);
    trace_text(state->trace, "role", role);
    trace_hex(state->trace, "virt", first);
    trace_hex(state->trace, "last", end - 1);
    if (table_reader_reaches(&state->reader, first, 1, &phys)) {
        trace_hex(state->trace, "phys", phys);
    }
    trace_close(state->trace);
}

void switch_evidence_intent(struct switch_state *state, const struct cr3scope_request *request) {
    for (size_t i = 0; i < request->range_count; i++) {
        trace_range(state, &request->ranges[i]);
    }
    if (request->begun != NULL) {
        return; /* its owner names what is mapped */
    }
    trace_own(state, "switch code", "trampoline", (uint64_t)switch_first,
              (uint64_t)switch_code_end);
    if ((request->flags & CR3SCOPE_SAFE_IDT) != 0) {
        uint64_t stubs = (uint64_t)exception_stubs;
        trace_own(state, "handlers of the safe IDT", "loader", stubs,
                  stubs + sizeof(exception_stubs));
        trace_own(state, "stack of the safe IDT", "ist", (uint64_t)state->safe.stack,
                  (uint64_t)(&state->safe + 1));
    }
    if ((request->flags & CR3SCOPE_ALL_RANGES) != 0) {
        trace_open(state->trace, "table");
        trace_hex(state->trace, "phys", request->root & ENTRY_FRAME_MASK);
        trace_hex(state->trace, "level", state->paging.levels);
        trace_hex(state->trace, "parent", 0);
        trace_hex(state->trace, "caller", 0);
        trace_close(state->trace);
    }
}

/* Bytes in memory now; nothing if they cannot be read. */
static void trace_memory(struct switch_state *state, const char *name, uint64_t virt,
                         uint64_t bytes, unsigned planes) {
    if (table_reader_reaches(&state->reader, virt, bytes, NULL)) {
        memory_write(state->trace, name, "handoff", virt, (const void *)(uintptr_t)virt,
                     (size_t)bytes, planes);
    }
}

static void trace_descriptor_tables(struct switch_state *state,
                                    const struct cr3scope_request *request) {
    const struct cpu_state *planned = &state->planned;
    trace_memory(state, "gdt", planned->gdt.base, planned->gdt.limit + UINT64_C(1), 0);
    trace_memory(state, "idt", planned->idt.base, planned->idt.limit + UINT64_C(1), GATE_PLANES);
    if ((request->flags & (CR3SCOPE_SAFE_IDT | CR3SCOPE_SAFE_GDT)) != 0) {
        trace_memory(state, "tss", (uint64_t)&state->safe.tss, TSS_BYTES, 0);
    }
}

/* What the new tables have at the entry, up to the end of its page. */
static void trace_entry(struct switch_state *state, const struct cr3scope_request *request) {
    struct physical_memory memory = table_reader_memory(&state->reader);
    struct access read;
    struct access_fault fault;
    uint64_t phys = 0;
    read.virt = request->entry;
    read.width = 1;
    read.kind = ACCESS_READ;
    read.align = 0;
    if (!access_check(&state->paging, &memory, &read, &phys, &fault)) {
        return;
    }
    const uint64_t *page = memory.table(memory.context, phys & ~(PAGE_BYTES - 1));
    uint64_t offset = phys & (PAGE_BYTES - 1);
    uint64_t left = PAGE_BYTES - offset;
    if (page != NULL) {
        memory_write(state->trace, "entry", "handoff", request->entry,
                     (const uint8_t *)(const void *)page + offset,
                     (size_t)(left < ENTRY_BYTES ? left : ENTRY_BYTES), 0);
    }
}

/* Garbage in the new tables may lead through all of memory: then only what the caller made, and
 * what the plan meets. A root that is not the pool's is somebody's whole tree. */
static enum dump_status dump_new(struct switch_state *state,
                                 const struct cr3scope_request *request) {
    struct physical_memory memory = table_reader_memory(&state->reader);
    uint64_t root = state->jump.cr3;
    unsigned levels = state->paging.levels;
    size_t words = state->scratch_words;
    bool is_own = table_reader_owns(&state->reader, root & ENTRY_FRAME_MASK);
    if (is_own) {
        size_t few = DUMP_SCRATCH_WORDS(request->pool_bytes / PAGE_BYTES + MAX_STRAY_TABLES);
        words = few < words ? few : words;
    }
    if ((is_own || request->pool_bytes == 0) &&
        !dump_fits(root, levels, &memory, state->scratch, words)) {
        state->reader.known_only = true;
    }
    enum dump_status status = dump_write(state->trace, "new", root, levels, &memory, state->scratch,
                                         state->scratch_words);
    state->reader.known_only = false;
    return status;
}

enum cr3scope_status switch_evidence_contents(struct switch_state *state,
                                              const struct cr3scope_request *request) {
    struct physical_memory memory = table_reader_memory(&state->reader);
    uint64_t code = (uint64_t)switch_first;
    trace_descriptor_tables(state, request);
    trace_memory(state, "code", code, (uint64_t)switch_code_end - code, 0);
    if (request->begun == NULL) {
        trace_entry(state, request);
    }
    enum dump_status old =
        dump_write(state->trace, "old", state->cpu.cr3, state->reader.current.levels, &memory,
                   state->scratch, state->scratch_words);
    enum dump_status new_tables = dump_new(state, request);
    if (old != DUMP_SCRATCH_FULL && new_tables != DUMP_SCRATCH_FULL) {
        return CR3SCOPE_OK;
    }
    message_start(&state->why, old == DUMP_SCRATCH_FULL ? "the" : "the new");
    message_text(&state->why, old == DUMP_SCRATCH_FULL ? " page tables in force" : " page tables");
    message_text(&state->why, " are more than the scratch memory holds: ");
    message_decimal(&state->why, (state->scratch_words - 2 * PAGE_ENTRIES) / 3);
    return CR3SCOPE_TOO_MANY_TABLES;
}
