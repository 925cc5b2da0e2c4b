#include "support/table_samples.h"

#define ROOT UINT64_C(0x1000)
#define TABLE (ENTRY_PRESENT | ENTRY_WRITABLE)
#define USED (ENTRY_ACCESSED | ENTRY_DIRTY)
#define LARGE_BYTES UINT64_C(0x200000)

static uint64_t empty_root(struct fake_memory *memory) {
    fake_memory_page(memory, ROOT);
    return ROOT;
}

static uint64_t unreadable_root(struct fake_memory *memory) {
    (void)memory;
    return ROOT;
}

/* CR3 with PWT, PCD and a PCID: the root is the same. */
static uint64_t root_with_flags(struct fake_memory *memory) {
    fake_memory_page(memory, ROOT)[3] = UINT64_C(0x2000) | TABLE;
    fake_memory_page(memory, UINT64_C(0x2000))[511] = UINT64_C(0x40000000) | TABLE | ENTRY_LARGE;
    return (UINT64_C(1) << 63) | ROOT | 0xfff;
}

static uint64_t recursive_slot(struct fake_memory *memory) {
    uint64_t *root = fake_memory_page(memory, ROOT);
    root[510] = ROOT | TABLE | ENTRY_NO_EXECUTE | ENTRY_ACCESSED;
    root[0] = UINT64_C(0x2000) | TABLE;
    fake_memory_page(memory, UINT64_C(0x2000))[1] = UINT64_C(0x3000) | TABLE;
    uint64_t *directory = fake_memory_page(memory, UINT64_C(0x3000));
    directory[4] = UINT64_C(0x4000) | TABLE;
    directory[5] = UINT64_C(0x600000) | TABLE | ENTRY_LARGE;
    uint64_t *table = fake_memory_page(memory, UINT64_C(0x4000));
    for (unsigned i = 0; i < PAGE_ENTRIES; i++) {
        table[i] = (UINT64_C(0x100000) + i * PAGE_BYTES) | TABLE | (i % 3 == 0 ? USED : 0);
    }
    return ROOT;
}

/* 3000h is a PD by way of 2000h and a PT by way of 4000h; what it points to as a PD is met only
 * there. */
static uint64_t shared_at_two_levels(struct fake_memory *memory) {
    uint64_t *root = fake_memory_page(memory, ROOT);
    root[0] = UINT64_C(0x2000) | TABLE;
    root[1] = UINT64_C(0x2000) | TABLE;
    uint64_t *pointers = fake_memory_page(memory, UINT64_C(0x2000));
    pointers[0] = UINT64_C(0x4000) | TABLE;
    pointers[9] = UINT64_C(0x3000) | TABLE;
    fake_memory_page(memory, UINT64_C(0x4000))[7] = UINT64_C(0x3000) | TABLE;
    uint64_t *shared = fake_memory_page(memory, UINT64_C(0x3000));
    shared[1] = UINT64_C(0x5000) | TABLE;
    shared[2] = UINT64_C(0x6000) | TABLE | ENTRY_LARGE;
    fake_memory_page(memory, UINT64_C(0x5000))[0] = UINT64_C(0x9000) | TABLE;
    return ROOT;
}

/* First met as a PT, which leads nowhere, and only later as a PD. */
static uint64_t met_lower_first(struct fake_memory *memory) {
    uint64_t *root = fake_memory_page(memory, ROOT);
    root[0] = UINT64_C(0x2000) | TABLE;
    root[1] = ROOT | TABLE;
    uint64_t *pointers = fake_memory_page(memory, UINT64_C(0x2000));
    pointers[0] = UINT64_C(0x3000) | TABLE;
    fake_memory_page(memory, UINT64_C(0x3000))[0] = UINT64_C(0x4000) | TABLE;
    fake_memory_page(memory, UINT64_C(0x4000))[0] = UINT64_C(0x5000) | TABLE;
    fake_memory_page(memory, UINT64_C(0x5000))[0] = UINT64_C(0x6000) | TABLE;
    return ROOT;
}

/* Tables that point up again without a recursive slot: PD to PDPT, PD to itself. */
static uint64_t cycle(struct fake_memory *memory) {
    fake_memory_page(memory, ROOT)[256] = UINT64_C(0x2000) | TABLE;
    fake_memory_page(memory, UINT64_C(0x2000))[0] = UINT64_C(0x3000) | TABLE;
    uint64_t *directory = fake_memory_page(memory, UINT64_C(0x3000));
    directory[0] = UINT64_C(0x2000) | TABLE;
    directory[1] = UINT64_C(0x3000) | TABLE;
    directory[2] = ROOT | TABLE;
    return ROOT;
}

/* Bit 7 is a leaf in a PDPT and a PD, and nothing of the kind in a PML4E. */
static uint64_t page_size_bit_at_every_level(struct fake_memory *memory) {
    fake_memory_page(memory, ROOT)[0] = UINT64_C(0x2000) | TABLE | ENTRY_LARGE;
    uint64_t *pointers = fake_memory_page(memory, UINT64_C(0x2000));
    pointers[0] = UINT64_C(0x40000000) | TABLE | ENTRY_LARGE;
    pointers[1] = UINT64_C(0x3000) | TABLE;
    uint64_t *directory = fake_memory_page(memory, UINT64_C(0x3000));
    directory[0] = UINT64_C(0x200000) | TABLE | ENTRY_LARGE;
    directory[1] = UINT64_C(0x4000) | TABLE;
    fake_memory_page(memory, UINT64_C(0x4000))[0] = UINT64_C(0x5000) | TABLE | ENTRY_PAT_4K;
    return ROOT;
}

static uint64_t five_levels(struct fake_memory *memory) {
    uint64_t *root = fake_memory_page(memory, ROOT);
    root[511] = UINT64_C(0x2000) | TABLE;
    root[510] = ROOT | TABLE | ENTRY_NO_EXECUTE;
    fake_memory_page(memory, UINT64_C(0x2000))[511] = UINT64_C(0x3000) | TABLE;
    fake_memory_page(memory, UINT64_C(0x3000))[510] = UINT64_C(0x4000) | TABLE;
    fake_memory_page(memory, UINT64_C(0x4000))[0] = UINT64_C(0x5000) | TABLE;
    fake_memory_page(memory, UINT64_C(0x5000))[17] = UINT64_C(0x7000) | ENTRY_PRESENT | USED;
    return ROOT;
}

/* Some children are beyond memory, one of them met twice and between tables that repeat. */
static uint64_t unreadable_pages(struct fake_memory *memory) {
    uint64_t *root = fake_memory_page(memory, ROOT);
    root[0] = UINT64_C(0x2000) | TABLE;
    root[1] = UINT64_C(0xdead0000) | TABLE;
    root[2] = UINT64_C(0x3000) | TABLE;
    root[3] = UINT64_C(0x000fffffffff0000) | TABLE;
    uint64_t *first = fake_memory_page(memory, UINT64_C(0x2000));
    uint64_t *second = fake_memory_page(memory, UINT64_C(0x3000));
    first[0] = UINT64_C(0x40000000) | TABLE | ENTRY_LARGE;
    second[0] = UINT64_C(0x80000000) | TABLE | ENTRY_LARGE;
    second[1] = UINT64_C(0xdead0000) | TABLE;
    return ROOT;
}

/* PTs in rising and falling order of pages, with equal, rising and wrapping entries. */
static uint64_t repeats(struct fake_memory *memory) {
    uint64_t *root = fake_memory_page(memory, ROOT);
    root[0] = UINT64_C(0x2000) | TABLE;
    fake_memory_page(memory, UINT64_C(0x2000))[0] = UINT64_C(0x3000) | TABLE;
    uint64_t *directory = fake_memory_page(memory, UINT64_C(0x3000));
    for (unsigned i = 0; i < 200; i++) {
        unsigned page = i < 100 ? i : 400 - i;
        uint64_t phys = UINT64_C(0x100000) + page * PAGE_BYTES;
        directory[i] = phys | TABLE;
        uint64_t *table = fake_memory_page(memory, phys);
        for (unsigned k = 0; k < PAGE_ENTRIES; k += k < 256 ? 1 : 3) {
            uint64_t step = i < 30 ? 0 : i < 60 ? LARGE_BYTES : UINT64_C(0xfffffffffff00000);
            table[k] = k * PAGE_BYTES + i * step;
            table[k] |= i == 150 && k == 9 ? USED | ENTRY_PRESENT : ENTRY_PRESENT;
        }
        table[400] = UINT64_C(0x1234) << 1; /* not present: stays as it is in all of them */
    }
    return ROOT;
}

/* Neighbours that differ by a step which clears and sets the P bit. */
static uint64_t repeats_through_the_present_bit(struct fake_memory *memory) {
    fake_memory_page(memory, ROOT)[0] = UINT64_C(0x2000) | TABLE;
    fake_memory_page(memory, UINT64_C(0x2000))[0] = UINT64_C(0x3000) | TABLE;
    uint64_t *directory = fake_memory_page(memory, UINT64_C(0x3000));
    for (unsigned i = 0; i < 8; i++) {
        uint64_t phys = UINT64_C(0x10000) + i * PAGE_BYTES;
        directory[i] = phys | TABLE;
        uint64_t *table = fake_memory_page(memory, phys);
        table[3] = UINT64_C(0x5001) + i;
        table[4] = UINT64_C(0x6001) + i;
    }
    return ROOT;
}

/* Bits that no hardware defines, and values at the ends of 64 bits. */
static uint64_t every_bit(struct fake_memory *memory) {
    uint64_t *root = fake_memory_page(memory, ROOT);
    root[0] = UINT64_C(0x2000) | TABLE | (UINT64_C(0xfff) << 52) | (UINT64_C(7) << 9);
    uint64_t *pointers = fake_memory_page(memory, UINT64_C(0x2000));
    for (unsigned i = 0; i < 64; i++) {
        pointers[i] = UINT64_C(1) << i;
        pointers[64 + i] = ~(UINT64_C(1) << i) & ~ENTRY_PRESENT;
        pointers[128 + i] = ENTRY_PRESENT | ENTRY_LARGE | UINT64_C(1) << i;
    }
    pointers[511] = ~UINT64_C(0);
    pointers[510] = ~ENTRY_PRESENT;
    return ROOT;
}

uint64_t table_sample_incompressible(struct fake_memory *memory) {
    uint64_t seed = 0x5eed;
    fake_memory_page(memory, ROOT)[0] = UINT64_C(0x2000) | TABLE;
    fake_memory_page(memory, UINT64_C(0x2000))[0] = UINT64_C(0x3000) | TABLE;
    for (unsigned i = 0; i < 64; i++) {
        uint64_t phys = UINT64_C(0x100000) + (fake_random(&seed) % 4096 * 64 + i) * PAGE_BYTES;
        fake_memory_page(memory, UINT64_C(0x3000))[i * 8] = phys | TABLE;
        uint64_t *table = fake_memory_page(memory, phys);
        for (unsigned k = 0; k < PAGE_ENTRIES; k++) {
            table[k] = fake_random(&seed);
        }
    }
    return ROOT;
}

uint64_t table_sample_firmware(struct fake_memory *memory) {
    uint64_t seed = 0x0f00d;
    uint64_t *root = fake_memory_page(memory, ROOT);
    for (uint64_t i = 0; i < 2; i++) {
        uint64_t pointers_phys = UINT64_C(0x7fc01000) + i * 513 * PAGE_BYTES;
        uint64_t *pointers = fake_memory_page(memory, pointers_phys);
        root[i] = pointers_phys | TABLE | (i == 0 ? ENTRY_ACCESSED : 0);
        for (uint64_t k = 0; k < PAGE_ENTRIES; k++) {
            uint64_t directory_phys = pointers_phys + (k + 1) * PAGE_BYTES;
            uint64_t *directory = fake_memory_page(memory, directory_phys);
            pointers[k] = directory_phys | TABLE | (i == 0 && k < 4 ? ENTRY_ACCESSED : 0);
            for (uint64_t j = 0; j < PAGE_ENTRIES; j++) {
                directory[j] = (((i * PAGE_ENTRIES + k) * PAGE_ENTRIES + j) * LARGE_BYTES) | TABLE |
                               ENTRY_LARGE;
                if (i == 0 && k < 4 && fake_random(&seed) % 4 == 0) {
                    directory[j] |= fake_random(&seed) & USED;
                }
            }
        }
    }
    uint64_t split_phys = UINT64_C(0x7fb00000);
    uint64_t *split = fake_memory_page(memory, split_phys);
    fake_memory_page(memory, UINT64_C(0x7fc02000))[0] = split_phys | TABLE | ENTRY_ACCESSED;
    for (uint64_t i = 0; i < PAGE_ENTRIES; i++) {
        bool code = i % 37 < 9;
        split[i] = (i * PAGE_BYTES) | ENTRY_PRESENT | (code ? 0 : ENTRY_WRITABLE) |
                   (code ? 0 : ENTRY_NO_EXECUTE) | (fake_random(&seed) & USED);
    }
    return ROOT;
}

uint64_t table_sample_random_graph(struct fake_memory *memory, uint64_t seed) {
    unsigned pages = 2 + (unsigned)(fake_random(&seed) % 12);
    for (unsigned i = 0; i < pages; i++) {
        uint64_t *table = fake_memory_page(memory, (i + 1) * PAGE_BYTES);
        unsigned style = (unsigned)(fake_random(&seed) % 4);
        for (unsigned k = 0; k < PAGE_ENTRIES; k++) {
            uint64_t random = fake_random(&seed);
            uint64_t target = (1 + random % (pages + 1)) * PAGE_BYTES; /* one of them unreadable */
            if (style == 0) {
                table[k] = random;
            } else if (style == 1) {
                table[k] = k % 64 < 60 ? 0 : target | (random >> 52);
            } else if (style == 2) {
                table[k] = k * PAGE_BYTES + target + (random >> 63);
            } else {
                table[k] = random % 50 == 0 ? target | TABLE | (random & USED) : table[k / 2];
            }
        }
        /* A random frame would point outside; these lead on. */
        table[i % PAGE_ENTRIES] = (1 + (i + 1) % pages) * PAGE_BYTES | TABLE;
    }
    return ROOT;
}

const struct table_sample table_samples[] = {
    {"empty-root", 4, empty_root},
    {"unreadable-root", 4, unreadable_root},
    {"root-with-flags", 4, root_with_flags},
    {"recursive-slot", 4, recursive_slot},
    {"shared-at-two-levels", 4, shared_at_two_levels},
    {"met-lower-first", 4, met_lower_first},
    {"cycle", 4, cycle},
    {"page-size-bit", 4, page_size_bit_at_every_level},
    {"five-levels", 5, five_levels},
    {"unreadable-pages", 4, unreadable_pages},
    {"repeats", 4, repeats},
    {"repeats-through-present", 4, repeats_through_the_present_bit},
    {"every-bit", 4, every_bit},
    {"incompressible", 4, table_sample_incompressible},
    {"firmware", 4, table_sample_firmware},
};
const size_t table_sample_count = sizeof(table_samples) / sizeof(table_samples[0]);
