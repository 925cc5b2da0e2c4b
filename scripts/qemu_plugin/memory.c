#define _GNU_SOURCE /* RTLD_DEFAULT */
#include "memory.h"

#include <dlfcn.h>
#include <string.h>
#include <sys/mman.h>

#include "file.h"

enum { PAGE_SHIFT = 12, PAGE_MASK = (1 << PAGE_SHIFT) - 1, PHYS_BITS = 40 };
#define FOUR_GIB (UINT64_C(1) << 32)

static uint32_t *index_of_pages; /* numbers by physical page */
static struct page_at *pages;    /* by number */
/* Exported for QEMU's own modules, so only where it is built with them: `addr` as QEMU counts its
 * RAM. */
static void *(*map_ram)(void *block, uint64_t addr);

static void *reserved(uint64_t bytes) {
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return at == MAP_FAILED ? NULL : at;
}

int memory_begin(void) {
    void *symbol = dlsym(RTLD_DEFAULT, "qemu_map_ram_ptr");

    memcpy(&map_ram, &symbol, sizeof(map_ram));
    index_of_pages = reserved(sizeof(*index_of_pages) << (PHYS_BITS - PAGE_SHIFT));
    pages = reserved(sizeof(*pages) * (MOST_PAGES + 1));
    return index_of_pages != NULL && pages != NULL;
}

/* QEMU's own number of a byte of RAM; -1 for what is none, or if nobody has told us yet. */
static uint64_t ram_address(uint64_t phys) {
    if (phys < file_header->low_end) {
        return phys;
    }
    if (phys >= FOUR_GIB && phys < file_header->high_end) {
        return phys - file_header->high_moved;
    }
    return UINT64_MAX;
}

/* Under the lock. */
static void find_values(uint32_t number, struct page_at *at, uint64_t phys) {
    const uint64_t ram = ram_address(phys);

    if (ram == UINT64_MAX) {
        return;
    }
    at->is_looked_for = 1;
    if (file_header->counts[SECTION_VALUES] >= file_header->most_values) {
        return;
    }
    const uint32_t values = file_append(SECTION_VALUES);
    if (values != 0) {
        file_page(number)->values = values;
        at->words = map_ram == NULL ? NULL : map_ram(NULL, ram);
        at->values = file_values(values);
    }
}

void memory_keep_half(struct page_at *page, uint64_t word, uint32_t store) {
    const uint32_t number = (uint32_t)(page - pages);

    file_lock();
    if (page->halves == NULL) {
        const bool is_room = file_header->counts[SECTION_HALVES] < file_header->most_halves;
        const uint32_t halves = is_room ? file_append(SECTION_HALVES) : 0;
        if (halves != 0) {
            file_page(number)->halves = halves;
            page->halves = file_halves(halves)->stores;
        } else {
            file_flag(FLAG_HALVES);
        }
    }
    file_unlock();
    if (page->halves != NULL) {
        __atomic_store_n(&page->halves[word], store, __ATOMIC_RELAXED);
    }
}

struct page_at *memory_page(uint64_t phys) {
    if (phys >> PHYS_BITS != 0) {
        return NULL;
    }
    uint32_t *place = &index_of_pages[phys >> PAGE_SHIFT];
    uint32_t number = __atomic_load_n(place, __ATOMIC_ACQUIRE);

    if (number != 0 && (pages[number].is_looked_for || file_header->low_end == 0)) {
        return &pages[number];
    }
    file_lock();
    number = *place;
    if (number == 0) {
        number = file_append(SECTION_SLOTS);
        if (number != 0 && file_append(SECTION_PAGES) != number) {
            number = 0;
        }
        if (number != 0) {
            *file_page(number) = (struct page){.phys = phys & ~(uint64_t)PAGE_MASK};
            pages[number].stores = file_slots(number)->stores;
        }
    }
    if (number != 0 && !pages[number].is_looked_for) {
        find_values(number, &pages[number], phys & ~(uint64_t)PAGE_MASK);
    }
    __atomic_store_n(place, number, __ATOMIC_RELEASE);
    file_unlock();
    return number == 0 ? NULL : &pages[number];
}
