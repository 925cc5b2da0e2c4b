#include "trace/preflight.h"

#include <stddef.h>

#include "trace/control_registers.h"
#include "trace/paging.h"

/* Where an address leads: the leaf, and the levels whose entries forbid something (0: none). */
struct translation {
    uint64_t phys;
    uint64_t page_bytes;
    unsigned leaf_level;
    unsigned read_only_level;
    unsigned no_execute_level;
    unsigned supervisor_level;
    uint64_t tables[5]; /* physical address of the table at level i + 1 */
    uint64_t entries[5];
};

static uint64_t bit_range(unsigned first, unsigned last) {
    return (UINT64_C(2) << last) - (UINT64_C(1) << first);
}

/*
 * Intel SDM volume 3A, section 5.5.4, tables 5-14 to 5-20; AMD APM volume 2, section 5.3.3, for G
 * above the PDPT. Bit 7 of a PTE is PAT and bit 12 of a large leaf too: neither is reserved.
 */
static uint64_t reserved_bits(const struct paging_state *state, uint64_t entry, unsigned level) {
    uint64_t reserved = state->max_phys_bits < 52 ? bit_range(state->max_phys_bits, 51) : 0;
    if ((state->efer & EFER_NXE) == 0) {
        reserved |= ENTRY_NO_EXECUTE;
    }
    if (level >= 4) {
        reserved |= ENTRY_LARGE | (state->is_amd ? ENTRY_GLOBAL : 0);
    }
    if (level == 3 && !state->has_1g_pages) {
        reserved |= ENTRY_LARGE;
    }
    if (level > 1 && entry_is_leaf(entry, level)) {
        reserved |= bit_range(13, level_shift(level) - 1);
    }
    return reserved;
}

static void blame(const struct translation *walked, uint64_t virt, unsigned level,
                  struct access_fault *fault_ret) {
    fault_ret->level = level;
    fault_ret->index = level_index(virt, level);
    fault_ret->entry_phys = walked->tables[level - 1] + fault_ret->index * sizeof(uint64_t);
    fault_ret->entry = walked->entries[level - 1];
}

static void page_fault(const struct paging_state *state, const struct access *access, uint64_t virt,
                       uint32_t reason, struct access_fault *fault_ret) {
    bool reports_fetch = (state->cr4 & CR4_SMEP) != 0 || (state->efer & EFER_NXE) != 0;
    fault_ret->vector = VECTOR_PAGE_FAULT;
    fault_ret->error_code = reason;
    fault_ret->cr2 = virt;
    if (access->kind == ACCESS_WRITE) {
        fault_ret->error_code |= FAULT_WRITE;
    } else if (access->kind == ACCESS_FETCH && reports_fetch) {
        fault_ret->error_code |= FAULT_FETCH;
    }
}

/* Keeps the first level from the top. */
static void note_veto(unsigned *level_kept, unsigned level) {
    if (*level_kept == 0) {
        *level_kept = level;
    }
}

/* From the top to the leaf. False, with the reason, at the first entry that is not present or not
 * valid. */
static bool translate(const struct paging_state *state, const struct physical_memory *memory,
                      uint64_t virt, struct translation *walked_ret, uint32_t *reason_ret,
                      unsigned *level_ret) {
    uint64_t table = state->cr3 & ENTRY_FRAME_MASK;
    for (unsigned level = state->levels; level >= 1; level--) {
        const uint64_t *entries = memory->table(memory->context, table);
        uint64_t entry = entries == NULL ? 0 : entries[level_index(virt, level)];
        walked_ret->tables[level - 1] = table;
        walked_ret->entries[level - 1] = entry;
        *level_ret = level;
        if ((entry & ENTRY_PRESENT) == 0) {
            *reason_ret = 0;
            return false;
        }
        if ((entry & reserved_bits(state, entry, level)) != 0) {
            *reason_ret = FAULT_RESERVED | FAULT_PROTECTION;
            return false;
        }
        if ((entry & ENTRY_WRITABLE) == 0) {
            note_veto(&walked_ret->read_only_level, level);
        }
        if ((entry & ENTRY_NO_EXECUTE) != 0) {
            note_veto(&walked_ret->no_execute_level, level);
        }
        if ((entry & ENTRY_USER) == 0) {
            note_veto(&walked_ret->supervisor_level, level);
        }
        table = entry & ENTRY_FRAME_MASK;
        if (entry_is_leaf(entry, level)) {
            break;
        }
    }
    uint64_t offset_mask = level_bytes(*level_ret) - 1;
    walked_ret->leaf_level = *level_ret;
    walked_ret->page_bytes = offset_mask + 1;
    walked_ret->phys = (table & ~offset_mask) | (virt & offset_mask);
    return true;
}

/*
 * The level whose entry forbids the access, 0 if none does. A page that is the user's is so by
 * every level together: SMEP and SMAP blame the leaf. A supervisor write meets R/W only under
 * CR0.WP (SDM 5.6.1).
 */
static unsigned veto_level(const struct paging_state *state, const struct translation *walked,
                           enum access_kind kind) {
    unsigned user_level = walked->supervisor_level == 0 ? walked->leaf_level : 0;
    if (kind == ACCESS_FETCH) {
        if (walked->no_execute_level != 0) {
            return walked->no_execute_level;
        }
        return (state->cr4 & CR4_SMEP) != 0 ? user_level : 0;
    }
    if (kind == ACCESS_WRITE && (state->cr0 & CR0_WRITE_PROTECT) != 0 &&
        walked->read_only_level != 0) {
        return walked->read_only_level;
    }
    return (state->cr4 & CR4_SMAP) != 0 ? user_level : 0;
}

uint64_t access_covers(const struct paging_state *state, const struct physical_memory *memory,
                       uint64_t virt) {
    struct translation walked;
    uint32_t reason = 0;
    unsigned level = 1;
    __builtin_memset(&walked, 0, sizeof(walked));
    (void)translate(state, memory, virt, &walked, &reason, &level);
    return level_bytes(level);
}

static void general_protection(struct access_fault *fault_ret) {
    __builtin_memset(fault_ret, 0, sizeof(*fault_ret));
    fault_ret->vector = VECTOR_GENERAL_PROTECTION;
}

/* One byte of the access. Its page's translation is in *walked_ret if it succeeds. */
static bool check_byte(const struct paging_state *state, const struct physical_memory *memory,
                       const struct access *access, uint64_t virt, struct translation *walked_ret,
                       struct access_fault *fault_ret) {
    uint32_t reason = 0;
    unsigned level = 0;
    __builtin_memset(walked_ret, 0, sizeof(*walked_ret));
    if (!virt_is_canonical(virt, state->levels)) {
        general_protection(fault_ret);
        return false;
    }
    if (translate(state, memory, virt, walked_ret, &reason, &level)) {
        level = veto_level(state, walked_ret, access->kind);
        reason = FAULT_PROTECTION;
        if (level == 0) {
            return true;
        }
    }
    page_fault(state, access, virt, reason, fault_ret);
    blame(walked_ret, virt, level, fault_ret);
    return false;
}

bool access_check(const struct paging_state *state, const struct physical_memory *memory,
                  const struct access *access, uint64_t *phys_ret, struct access_fault *fault_ret) {
    struct translation walked;
    uint64_t virt = access->virt;
    uint64_t left = access->width == 0 ? 1 : access->width;
    uint64_t phys = 0;

    bool misaligned = access->align > 1 && (virt & (access->align - 1)) != 0;
    if (misaligned || !virt_is_canonical(virt + (left - 1), state->levels)) {
        general_protection(fault_ret);
        return false;
    }
    for (bool first = true; left > 0; first = false) {
        if (!check_byte(state, memory, access, virt, &walked, fault_ret)) {
            return false;
        }
        phys = first ? walked.phys : phys;
        uint64_t in_page = walked.page_bytes - (virt & (walked.page_bytes - 1));
        in_page = in_page < left ? in_page : left;
        virt += in_page;
        left -= in_page;
    }
    if (phys_ret != NULL) {
        *phys_ret = phys;
    }
    return true;
}
