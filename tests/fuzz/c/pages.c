#include "pages.h"

static uint64_t place(struct take *take, size_t number) {
    uint64_t far = take_number(take, 1);
    uint64_t page = number + 1;
    if ((far & 1) != 0) {
        page += far << (far & 0x1e); /* apart, up to the last page of 52 bits and beyond */
    }
    return page * PAGE_BYTES;
}

/* Runs of entries: pointers among the pages, or numbers with a stride. */
static void fill_run(struct pages *pages, struct take *take) {
    uint64_t how = take_number(take, 1);
    struct page *page = &pages->pages[take_number(take, 1) % pages->count];
    size_t first = take_number(take, 2) % PAGE_ENTRIES;
    size_t count = (how & 1) != 0 ? take_number(take, 2) % PAGE_ENTRIES + 1 : 1;
    uint64_t value;
    uint64_t stride = 0;
    if ((how & 2) != 0) {
        value = take_number(take, 8);
        stride = (how & 4) != 0 ? take_number(take, 8) : PAGE_BYTES;
    } else {
        value = pages->pages[take_number(take, 1) % pages->count].phys;
        value |= take_number(take, 2) & ~ENTRY_FRAME_MASK;
        value |= ENTRY_PRESENT | ((how & 8) != 0 ? ENTRY_NO_EXECUTE : 0);
        stride = (how & 4) != 0 ? PAGE_BYTES : 0;
    }
    for (size_t i = first; i < first + count && i < PAGE_ENTRIES; i++) {
        page->entries[i] = value;
        value += stride;
    }
}

void pages_fill(struct pages *pages, struct take *take) {
    pages->count = take_number(take, 1) % PAGES_MOST + 1;
    for (size_t i = 0; i < pages->count; i++) {
        pages->pages[i].phys = place(take, i);
        memset(pages->pages[i].entries, 0, sizeof(pages->pages[i].entries));
    }
    while (take->left > 0) {
        fill_run(pages, take);
    }
}

static const uint64_t *read_page(void *context, uint64_t phys) {
    struct pages *pages = context;
    for (size_t i = 0; i < pages->count; i++) {
        if (pages->pages[i].phys == phys) {
            memcpy(pages->window, pages->pages[i].entries, sizeof(pages->window));
            return pages->window;
        }
    }
    return NULL;
}

struct physical_memory pages_memory(struct pages *pages) {
    return (struct physical_memory){read_page, pages};
}
