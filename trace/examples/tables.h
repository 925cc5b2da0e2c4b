/* A page-table builder for the examples, as small as it can be: 4 KiB pages, four levels. */
#include <stdint.h>

#define PAGE UINT64_C(4096)
#define PRESENT UINT64_C(1)
#define WRITABLE UINT64_C(2)
#define NO_EXECUTE (UINT64_C(1) << 63)

static uint64_t pool[64][512] __attribute__((aligned(4096)));
static unsigned pool_used;

/* distance: of where the pool is mapped from where it lies. */
static uint64_t *next_table(uint64_t distance, uint64_t *phys_ret) {
    uint64_t *table = pool[pool_used++];
    *phys_ret = (uint64_t)table - distance;
    return table;
}

static void map(uint64_t root, uint64_t distance, uint64_t virt, uint64_t phys, uint64_t bytes,
                uint64_t bits) {
    for (uint64_t done = 0; done < bytes; done += PAGE) {
        uint64_t *table = (uint64_t *)(root + distance);
        for (unsigned shift = 39; shift > 12; shift -= 9) {
            uint64_t *entry = &table[(virt + done) >> shift & 511];
            if (*entry == 0) {
                next_table(distance, entry);
                *entry |= PRESENT | WRITABLE;
            }
            table = (uint64_t *)((*entry & UINT64_C(0xffffffffff000)) + distance);
        }
        table[(virt + done) >> 12 & 511] = (phys + done) | bits;
    }
}
