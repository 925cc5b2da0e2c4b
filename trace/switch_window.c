/* The page that both roots map, and the two roots: copies of top tables, with one more entry. */
#include "switch_rehearse.h"

#ifndef CR3SCOPE_NO_REHEARSAL
#include "trace/control_registers.h"
#include "trace/msr.h"
#include "trace/paging.h"

#define SELECTOR_RPL_AND_TI 7u
#define PKRS_KEY_0 3u /* access and write disable */
/* The page, the two copies, and a table for each level below the top. */
#define PAGES_MOST 7u

typedef char probe_lies_where_assembly_has_it
    [__builtin_offsetof(struct rehearsal_page, probe) == REHEARSE_CODE_BYTES &&
             __builtin_offsetof(struct switch_probe, loading) == 176 &&
             __builtin_offsetof(struct switch_probe, new_tables) == 216 &&
             __builtin_offsetof(struct switch_probe, old_tables) == 256
         ? 1
         : -1];
typedef char rehearsal_page_is_a_page[sizeof(struct rehearsal_page) == PAGE_BYTES ? 1 : -1];

struct window {
    uint64_t *pages[PAGES_MOST];
    uint64_t phys[PAGES_MOST];
};

static bool because(struct message *why_ret, const char *what, uint64_t value) {
    message_start(why_ret, what);
    message_hex(why_ret, value);
    return false;
}

/* What would make an exception, or an access to the page itself, another one than under the plan.
 */
static bool state_allows(const struct switch_state *state, struct message *why_ret) {
    const struct cpu_state *cpu = &state->cpu;
    uint64_t cr4 = cpu->cr4 | state->planned.cr4;
    uint64_t cet = (cr4 & CR4_CET) != 0 ? msr_read(MSR_S_CET) : 0;
    uint64_t keys = (cr4 & CR4_PKS) != 0 ? msr_read(MSR_PKRS) : 0;
    if (cet != 0) {
        return because(why_ret,
                       "supervisor shadow stacks or branch tracking are on: IA32_S_CET is ", cet);
    }
    if ((keys & PKRS_KEY_0) != 0) {
        return because(why_ret, "protection key 0 denies accesses: IA32_PKRS is ", keys);
    }
    bool is_right = (cpu->cs & SELECTOR_RPL_AND_TI) == 0 && cpu->cs / 8 < REHEARSE_GDT_ENTRIES &&
                    (cpu->ss & SELECTOR_RPL_AND_TI) == 0 && cpu->ss / 8 < REHEARSE_GDT_ENTRIES &&
                    cpu->cs != cpu->ss;
    return is_right || because(why_ret, "selectors of which there is no copy: CS is ", cpu->cs);
}

static bool find_pages(struct switch_state *state, struct window *window, unsigned count,
                       struct message *why_ret) {
    uint64_t first = ((uint64_t)(uintptr_t)state->scratch + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
    uint64_t end = (uint64_t)(uintptr_t)(state->scratch + state->scratch_words);
    if (end < first || end - first < count * PAGE_BYTES) {
        return because(why_ret, "the scratch memory has less room than the rehearsal needs, ",
                       (count + 1) * PAGE_BYTES);
    }
    for (unsigned i = 0; i < count; i++) {
        uint64_t virt = first + i * PAGE_BYTES;
        if (!table_reader_reaches(&state->reader, virt, 1, &window->phys[i])) {
            return because(why_ret, "nobody knows where its memory lies: ", virt);
        }
        window->pages[i] = (uint64_t *)(uintptr_t)virt;
        __builtin_memset(window->pages[i], 0, PAGE_BYTES);
    }
    return true;
}

static bool copy_top(struct switch_state *state, uint64_t root, uint64_t *page_ret,
                     struct message *why_ret) {
    struct physical_memory memory = table_reader_memory(&state->reader);
    const uint64_t *table = memory.table(memory.context, root & ENTRY_FRAME_MASK);
    if (table == NULL) {
        return because(why_ret, "this top table cannot be read: ", root);
    }
    __builtin_memcpy(page_ret, table, PAGE_BYTES);
    return true;
}

static bool is_planned(const struct switch_state *state, unsigned slot) {
    for (size_t i = 0; i < state->plan.count; i++) {
        const struct access *access = &state->plan.steps[i].access;
        if (level_index(access->virt, state->paging.levels) == slot ||
            level_index(access->virt + access->width - 1, state->paging.levels) == slot) {
            return true;
        }
    }
    return false;
}

/* An entry of the top that neither root has, and no step of the plan meets; PAGE_ENTRIES if there
 * is none. */
static unsigned free_slot(const struct switch_state *state, const struct window *window) {
    unsigned slot = 0;
    while (slot < PAGE_ENTRIES &&
           (((window->pages[1][slot] | window->pages[2][slot]) & ENTRY_PRESENT) != 0 ||
            is_planned(state, slot))) {
        slot++;
    }
    return slot;
}

/* Its address in both roots: a chain of tables from the slot to the page. */
static uint64_t map_page(const struct switch_state *state, struct window *window, unsigned slot) {
    unsigned levels = state->paging.levels;
    unsigned shift = level_shift(levels);
    uint64_t virt = (uint64_t)slot << shift;
    uint64_t below = window->phys[0];
    for (unsigned level = 1; level < levels; level++) {
        window->pages[2 + level][0] = below | ENTRY_PRESENT | ENTRY_WRITABLE;
        below = window->phys[2 + level];
    }
    window->pages[1][slot] = window->pages[2][slot] = below | ENTRY_PRESENT | ENTRY_WRITABLE;
    return slot < PAGE_ENTRIES / 2 ? virt : virt | ~UINT64_C(0) << (shift + 9);
}

static void fill_tables(const struct switch_state *state, struct rehearsal_page *page,
                        uint64_t virt) {
    const struct cpu_state *cpu = &state->cpu;
    struct switch_probe *probe = &page->probe;
    uint64_t stubs = virt + (uint64_t)(rehearse_stubs - rehearse_code);
    for (unsigned vector = 0; vector < REHEARSE_VECTORS; vector++) {
        exception_fill_gate(&page->idt[2 * vector], stubs + 8 * vector, cpu->cs, 0);
    }
    page->gdt[cpu->cs / 8] = DESCRIPTOR_CODE_64;
    if (cpu->ss != 0) {
        page->gdt[cpu->ss / 8] = DESCRIPTOR_DATA;
    }
    probe->new_tables.gdt_limit = sizeof(page->gdt) - 1;
    probe->new_tables.gdt_base = virt + __builtin_offsetof(struct rehearsal_page, gdt);
    probe->new_tables.idt_limit = sizeof(page->idt) - 1;
    probe->new_tables.idt_base = virt + __builtin_offsetof(struct rehearsal_page, idt);
    probe->old_tables.gdt_limit = cpu->gdt.limit;
    probe->old_tables.gdt_base = cpu->gdt.base;
    probe->old_tables.idt_limit = cpu->idt.limit;
    probe->old_tables.idt_base = cpu->idt.base;
}

static void fill_registers(const struct switch_state *state, const struct window *window,
                           struct switch_probe *probe) {
    const struct cpu_state *cpu = &state->cpu;
    const struct cpu_state *planned = &state->planned;
    probe->new_cr0 = planned->cr0;
    /* With PGE off no translation of either root outlives the other (Intel SDM volume 3A,
     * 5.10.4.1). */
    probe->new_cr4 = planned->cr4 & ~CR4_PGE;
    probe->new_efer = planned->efer;
    probe->new_cr3 = window->phys[2] | (planned->cr3 & (PAGE_BYTES - 1));
    /* Low bits zero: CR4.PCIDE can be set and cleared there (2.5). */
    probe->back_cr3 = window->phys[1];
    probe->go_cr3 = window->phys[1] | (cpu->cr3 & (PAGE_BYTES - 1));
    probe->old_cr0 = cpu->cr0;
    probe->old_cr4 = cpu->cr4;
    probe->old_efer = cpu->efer;
    probe->cs = cpu->cs;
    probe->ss = cpu->ss;
}

struct rehearsal_page *switch_window_make(struct switch_state *state,
                                          const struct cr3scope_request *request,
                                          struct message *why_ret) {
    struct window window;
    (void)request;
    if (!state_allows(state, why_ret) ||
        !find_pages(state, &window, state->paging.levels + 2, why_ret) ||
        !copy_top(state, state->cpu.cr3, window.pages[1], why_ret) ||
        !copy_top(state, state->jump.cr3, window.pages[2], why_ret)) {
        return NULL;
    }
    unsigned slot = free_slot(state, &window);
    if (slot == PAGE_ENTRIES) {
        message_start(why_ret, "no entry of the top tables is free in both");
        return NULL;
    }
    uint64_t virt = map_page(state, &window, slot);
    struct rehearsal_page *page = (struct rehearsal_page *)(void *)window.pages[0];
    __builtin_memcpy(page->code, rehearse_code, (size_t)(rehearse_code_end - rehearse_code));
    fill_tables(state, page, virt);
    fill_registers(state, &window, &page->probe);
    page->probe.entry = virt;
    return page;
}
#endif
