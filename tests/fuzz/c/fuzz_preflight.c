/** The loader's own walk: an error code that the architecture knows, and an entry on the path. */
#include "pages.h"
#include "target.h"
#include "trace/preflight.h"

#define ALL_FAULTS (FAULT_PROTECTION | FAULT_WRITE | FAULT_USER | FAULT_RESERVED | FAULT_FETCH)

static struct pages pages;

static void check_fault(const struct access_fault *fault, const struct paging_state *state,
                        const struct access *access) {
    REQUIRE(fault->vector == VECTOR_PAGE_FAULT || fault->vector == VECTOR_GENERAL_PROTECTION);
    if (fault->vector == VECTOR_GENERAL_PROTECTION) {
        REQUIRE(fault->cr2 == 0 && fault->error_code == 0);
        return;
    }
    REQUIRE((fault->error_code & ~ALL_FAULTS) == 0 && (fault->error_code & FAULT_USER) == 0);
    REQUIRE((fault->error_code & FAULT_RESERVED) == 0 ||
            (fault->error_code & FAULT_PROTECTION) != 0);
    REQUIRE(((fault->error_code & FAULT_WRITE) != 0) == (access->kind == ACCESS_WRITE));
    REQUIRE(fault->level >= 1 && fault->level <= state->levels && fault->index < PAGE_ENTRIES);
    REQUIRE(fault->cr2 - access->virt < access->width);
    REQUIRE(fault->index == level_index(fault->cr2, fault->level));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct take take = {data, size};
    uint64_t how = take_number(&take, 1);
    struct paging_state state = {
        .cr0 = take_number(&take, 4),
        .cr4 = take_number(&take, 4),
        .efer = take_number(&take, 2),
        .max_phys_bits = 32 + (unsigned)take_number(&take, 1) % 21,
        .levels = 4 + (how & 1),
        .has_1g_pages = (how & 2) != 0,
        .is_amd = (how & 4) != 0,
    };
    const struct access access = {
        .virt = take_number(&take, 8),
        .width = take_number(&take, 2) % 0x3000 + 1,
        .kind = (enum access_kind)(take_number(&take, 1) % 3),
        .align = (how & 8) != 0 ? UINT64_C(1) << take_number(&take, 1) % 7 : 0,
    };
    pages_fill(&pages, &take);
    state.cr3 = pages.pages[0].phys | (how & 0x18);
    struct physical_memory memory = pages_memory(&pages);
    struct access_fault fault;
    uint64_t phys = 1;
    if (access_check(&state, &memory, &access, &phys, &fault)) {
        REQUIRE(phys % PAGE_BYTES == access.virt % PAGE_BYTES);
    } else {
        check_fault(&fault, &state, &access);
    }
    return 0;
}
