#include "switch_rehearse.h"

#include "trace/control_registers.h"
#include "trace/dump.h"
#include "trace/paging.h"

#define KNOWN_FLAGS                                                                                \
    (CR3SCOPE_SAFE_IDT | CR3SCOPE_SAFE_GDT | CR3SCOPE_WARN | CR3SCOPE_BREAKPOINT |                 \
     CR3SCOPE_ALL_RANGES | CR3SCOPE_KERNEL_TRACES | CR3SCOPE_INTERRUPTS | CR3SCOPE_REHEARSE)
/* Bits of CR3 that may be anything but an address: PWT and PCD, or with PCIDE all twelve (Intel SDM
 * volume 3A, 5.5.2). */
#define ROOT_FLAGS UINT64_C(0x18)
#define ROOT_KEEPS_TRANSLATIONS (UINT64_C(1) << 63)
#define MOST_ACCESS_BYTES (UINT64_C(1) << 20)

/* State and, behind it, room for two tables and the queue of a walk. */
#define FEWEST_BYTES (sizeof(struct switch_state) + 8 * DUMP_SCRATCH_WORDS(1))

struct switch_state *switch_state_in(const struct cr3scope_request *request) {
    uint64_t first = ((uint64_t)(uintptr_t)request->buffer + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
    uint64_t lost = first - (uint64_t)(uintptr_t)request->buffer;
    uint64_t least = request->scratch != NULL ? sizeof(struct switch_state) : FEWEST_BYTES;
    if (request->buffer == NULL || request->buffer_bytes < lost + least) {
        return NULL;
    }
    return (struct switch_state *)(uintptr_t)first;
}

static enum cr3scope_status refuse(struct switch_state *state, enum cr3scope_status status,
                                   const char *what, uint64_t value) {
    message_start(&state->why, what);
    message_hex(&state->why, value);
    return status;
}

static enum cr3scope_status refuse_range(struct switch_state *state, const char *what,
                                         const struct cr3scope_range *range) {
    message_start(&state->why, "range ");
    message_name(&state->why, range->name != NULL ? range->name : "without a name",
                 PLAN_NAME_BYTES);
    message_text(&state->why, " at ");
    message_hex(&state->why, range->virt);
    message_text(&state->why, what);
    return CR3SCOPE_BAD_RANGE;
}

static bool is_memory_type(const char *type) {
    static const char types[][4] = {"wb", "wt", "uc-", "uc", "wp", "wc"};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        size_t at = 0;
        while (types[i][at] != '\0' && types[i][at] == type[at]) {
            at++;
        }
        if (types[i][at] == type[at]) {
            return true;
        }
    }
    return false;
}

static enum cr3scope_status check_ranges(struct switch_state *state,
                                         const struct cr3scope_request *request) {
    if (request->range_count != 0 && request->ranges == NULL) {
        return refuse(state, CR3SCOPE_BAD_RANGE, "no ranges, though range_count is ",
                      request->range_count);
    }
    for (size_t i = 0; i < request->range_count; i++) {
        const struct cr3scope_range *range = &request->ranges[i];
        uint64_t last = range->virt + range->bytes - 1;
        if (range->bytes == 0) {
            return refuse_range(state, " has no bytes", range);
        }
        if (last < range->virt || range->phys + range->bytes - 1 < range->phys) {
            return refuse_range(state, " wraps around the end of the address space", range);
        }
        /* Both ends, and in the same half: what lies between is canonical then too. */
        if (!virt_is_canonical(range->virt, state->paging.levels) ||
            !virt_is_canonical(last, state->paging.levels) || (range->virt ^ last) >> 63 != 0) {
            return refuse_range(state, " is not canonical", range);
        }
        if ((range->rights & ~(CR3SCOPE_READ | CR3SCOPE_WRITE | CR3SCOPE_EXECUTE)) != 0) {
            return refuse_range(state, " has rights that are none", range);
        }
        if (range->type != NULL && !is_memory_type(range->type)) {
            return refuse_range(state, " has a memory type that is none", range);
        }
    }
    return CR3SCOPE_OK;
}

static enum cr3scope_status check_accesses(struct switch_state *state,
                                           const struct cr3scope_request *request) {
    if (request->access_count > CR3SCOPE_MOST_ACCESSES ||
        (request->access_count != 0 && request->accesses == NULL)) {
        return refuse(state, CR3SCOPE_BAD_ACCESS, "no accesses, or too many: access_count is ",
                      request->access_count);
    }
    for (size_t i = 0; i < request->access_count; i++) {
        const struct cr3scope_access *access = &request->accesses[i];
        if ((unsigned)access->kind > CR3SCOPE_WRITES || access->width == 0 ||
            access->width > MOST_ACCESS_BYTES || (access->align & (access->align - 1)) != 0) {
            return refuse(state, CR3SCOPE_BAD_ACCESS,
                          "an access has no kind, a width of none or above 1 MiB, or an alignment "
                          "that is no power of two: at ",
                          access->virt);
        }
    }
    return CR3SCOPE_OK;
}

struct feature_bit {
    uint64_t bit;
    uint32_t feature; /* enum cpu_feature */
};

static const struct feature_bit cr4_features[] = {
    {CR4_PGE, CPU_PGE}, {CR4_PCIDE, CPU_PCID}, {CR4_SMEP, CPU_SMEP}, {CR4_SMAP, CPU_SMAP},
    {CR4_PKE, CPU_PKU}, {CR4_CET, CPU_CET},    {CR4_PKS, CPU_PKS},
};

/* Intel SDM volume 3A, 13.12.2: another memory type is #GP(0). */
static bool pat_is_right(uint64_t pat) {
    for (; pat != 0; pat >>= 8) {
        uint64_t type = pat & 0xff;
        if (type == 2 || type == 3 || type > 7) {
            return false;
        }
    }
    return true;
}

/* Each of these is #GP(0) on the way to `mov cr3` (Intel SDM volume 3A, 2.5 and 5.10.1). */
static enum cr3scope_status check_loads(struct switch_state *state) {
    const struct cpu_state *cpu = &state->cpu;
    const struct cpu_state *planned = &state->planned;
    uint64_t added = planned->cr4 & ~cpu->cr4;
    for (size_t i = 0; i < sizeof(cr4_features) / sizeof(cr4_features[0]); i++) {
        if ((added & cr4_features[i].bit) != 0 && (cpu->features & cr4_features[i].feature) == 0) {
            return refuse(state, CR3SCOPE_BAD_CPU,
                          "this CPU does not have a bit of cr4: ", cr4_features[i].bit);
        }
    }
    if ((added & CR4_PCIDE) != 0 && (cpu->cr3 & (PAGE_BYTES - 1)) != 0) {
        return refuse(state, CR3SCOPE_BAD_CPU,
                      "PCIDE cannot be set while CR3 has low bits: ", cpu->cr3);
    }
    if ((planned->cr4 & CR4_CET) != 0 && (planned->cr0 & CR0_WRITE_PROTECT) == 0) {
        return refuse(state, CR3SCOPE_BAD_CPU, "with CR4.CET a cr0 needs WP: ", planned->cr0);
    }
    if ((planned->efer & EFER_NXE) != 0 && (cpu->features & CPU_NX) == 0) {
        return refuse(state, CR3SCOPE_BAD_CPU, "this CPU does not have NXE: efer is ",
                      planned->efer);
    }
    if (!pat_is_right(planned->pat)) {
        return refuse(state, CR3SCOPE_BAD_CPU, "a type of memory that is none: pat is ",
                      planned->pat);
    }
    return CR3SCOPE_OK;
}

/* LME, LMA, PE, PG and LA57 cannot change on the way (Intel SDM volume 3A, 2.5 and 5.1.2). */
static enum cr3scope_status check_cpu(struct switch_state *state) {
    const struct cpu_state *cpu = &state->cpu;
    const struct cpu_state *planned = &state->planned;
    uint64_t cr0_kept = CR0_PROTECTION | CR0_PAGING;
    if ((cpu->efer & EFER_LMA) == 0 || (cpu->cr0 & cr0_kept) != cr0_kept) {
        return refuse(state, CR3SCOPE_BAD_CPU, "the CPU is not in long mode: EFER is ", cpu->efer);
    }
    if (((planned->cr0 ^ cpu->cr0) & cr0_kept) != 0) {
        return refuse(state, CR3SCOPE_BAD_CPU, "a switch cannot change PE or PG: cr0 is ",
                      planned->cr0);
    }
    if (((planned->efer ^ cpu->efer) & (EFER_LME | EFER_LMA)) != 0) {
        return refuse(state, CR3SCOPE_BAD_CPU, "a switch cannot change LME or LMA: efer is ",
                      planned->efer);
    }
    if (((planned->cr4 ^ cpu->cr4) & (CR4_LA57 | CR4_PAE)) != 0) {
        return refuse(state, CR3SCOPE_BAD_CPU, "a switch cannot change PAE or LA57: cr4 is ",
                      planned->cr4);
    }
    return check_loads(state);
}

#define VECTOR_NMI 2u
#define GUARDED_VECTORS 32u

/*
 * Without a callback the tables in force are read at physical_offset, at once: the walk of the
 * place where the top one is said to be must lead to the top one. Each read is made under an IDT in
 * the scratch memory that catches what it raises. With CET an exception that does not return is one
 * too many for the shadow stack: then nothing is tried.
 */
static bool offset_is_right(struct switch_state *state, uint64_t offset) {
    const struct cpu_state *cpu = &state->cpu;
    uint64_t virt = offset + (cpu->cr3 & ENTRY_FRAME_MASK);
    uint64_t entry = cpu->cr3;
    uint64_t inside = 0;
    struct switch_tables guarded;
    struct switch_tables now;
    for (unsigned vector = 0; vector < GUARDED_VECTORS; vector++) {
        exception_fill_gate(
            &state->scratch[2 * vector],
            (uint64_t)(vector == VECTOR_NMI ? switch_try_read_nmi : switch_try_read_end), cpu->cs,
            0);
    }
    guarded.idt_limit = GUARDED_VECTORS * 16 - 1;
    guarded.idt_base = (uint64_t)state->scratch;
    now.idt_limit = cpu->idt.limit;
    now.idt_base = cpu->idt.base;
    for (unsigned level = state->paging.levels; level >= 1 && inside == 0; level--) {
        uint64_t table = offset + (entry & ENTRY_FRAME_MASK);
        if (switch_try_read(table + 8 * (uint64_t)level_index(virt, level), &entry, &guarded,
                            &now) == 0 ||
            (entry & ENTRY_PRESENT) == 0) {
            return false;
        }
        inside = entry_is_leaf(entry, level) ? level_bytes(level) - 1 : 0;
    }
    return ((entry & ENTRY_FRAME_MASK & ~inside) | (virt & inside)) == virt - offset;
}

static bool scratch_is_right(const struct cr3scope_request *request) {
    return request->scratch == NULL || (request->scratch_bytes >= 8 * DUMP_SCRATCH_WORDS(1) &&
                                        ((uint64_t)(uintptr_t)request->scratch & 7) == 0);
}

bool switch_request_reads(struct switch_state *state, const struct cr3scope_request *request) {
    return scratch_is_right(request) && (request->read != NULL || (state->cpu.cr4 & CR4_CET) != 0 ||
                                         offset_is_right(state, request->physical_offset));
}

enum cr3scope_status switch_request_check(struct switch_state *state,
                                          const struct cr3scope_request *request, bool rehearses) {
    bool safe_idt = (request->flags & CR3SCOPE_SAFE_IDT) != 0;
    if ((request->flags & ~KNOWN_FLAGS) != 0) {
        return refuse(state, CR3SCOPE_BAD_FLAGS, "unknown flags: ", request->flags);
    }
    if ((request->flags & CR3SCOPE_BREAKPOINT) != 0 && !safe_idt &&
        (request->flags & CR3SCOPE_SAFE_GDT) == 0) {
        return refuse(state, CR3SCOPE_BAD_FLAGS, "a breakpoint needs the safe IDT: flags are ",
                      request->flags);
    }
    if (rehearses && !REHEARSAL_IS_BUILT) {
        return refuse(state, CR3SCOPE_BAD_FLAGS,
                      "this build has no rehearsal, it lacks CR3SCOPE_REHEARSAL: flags are ",
                      request->flags);
    }
    bool has_pcids = (state->planned.cr4 & CR4_PCIDE) != 0;
    if (has_pcids && (request->root & ROOT_KEEPS_TRANSLATIONS) != 0) {
        return refuse(state, CR3SCOPE_BAD_ROOT,
                      "with bit 63 of the root the CPU may go on with translations of before: ",
                      request->root);
    }
    if (!has_pcids && (request->root & (PAGE_BYTES - 1) & ~ROOT_FLAGS) != 0) {
        return refuse(state, CR3SCOPE_BAD_ROOT,
                      "the root is no physical address of a table, which is a multiple of 4096: ",
                      request->root);
    }
    if (!scratch_is_right(request)) {
        return refuse(state, CR3SCOPE_BAD_BUFFER,
                      "scratch memory is too small or not aligned: ", request->scratch_bytes);
    }
    enum cr3scope_status status = check_cpu(state);
    if (status == CR3SCOPE_OK && !switch_request_reads(state, request)) {
        return refuse(state, CR3SCOPE_BAD_OFFSET,
                      "the page tables in force are not where physical_offset has them: ",
                      request->physical_offset + (state->cpu.cr3 & ENTRY_FRAME_MASK));
    }
    if (status == CR3SCOPE_OK) {
        status = check_ranges(state, request);
    }
    if (status == CR3SCOPE_OK) {
        status = check_accesses(state, request);
    }
    return status;
}
