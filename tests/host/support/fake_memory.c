#include "support/fake_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fake_page *find_page(struct fake_memory *memory, uint64_t phys) {
    for (size_t i = 0; i < memory->count; i++) {
        if (memory->pages[i].phys == phys) {
            return &memory->pages[i];
        }
    }
    return NULL;
}

static const uint64_t *read_page(void *context, uint64_t phys) {
    struct fake_memory *memory = context;
    struct fake_page *page = find_page(memory, phys);
    if (page == NULL) {
        return NULL;
    }
    memcpy(memory->window, page->entries, sizeof(memory->window));
    return memory->window;
}

struct fake_memory *fake_memory_new(void) {
    struct fake_memory *memory = calloc(1, sizeof(*memory));
    if (memory == NULL) {
        abort();
    }
    memory->pages = calloc(FAKE_MEMORY_PAGES, sizeof(*memory->pages));
    if (memory->pages == NULL) {
        abort();
    }
    memory->physical = (struct physical_memory){read_page, memory};
    return memory;
}

void fake_memory_free(struct fake_memory *memory) {
    free(memory->pages);
    free(memory);
}

uint64_t *fake_memory_page(struct fake_memory *memory, uint64_t phys) {
    struct fake_page *page = find_page(memory, phys);
    if (page != NULL) {
        return page->entries;
    }
    if (memory->count == FAKE_MEMORY_PAGES) {
        fprintf(stderr, "fake_memory: more than %u pages\n", FAKE_MEMORY_PAGES);
        abort();
    }
    page = &memory->pages[memory->count++];
    page->phys = phys;
    return page->entries;
}

uint64_t fake_random(uint64_t *seed) {
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * UINT64_C(0x2545f4914f6cdd1d);
}
