/* For `make bench`: dumps tables of random entries and prints "WIRE RAW", both in bytes. */
#include <stdio.h>
#include <stdlib.h>

#include "trace/dump.h"
#include "trace/paging.h"
#include "trace/sinks.h"

#define LEAF_TABLES 200u
/* The three tables above them, one each level. */
#define UPPER_TABLES 3u
#define TABLES (UPPER_TABLES + LEAF_TABLES)
#define BASE_PHYS UINT64_C(0x100000)

static uint64_t pages[TABLES][PAGE_ENTRIES];

static const uint64_t *page_at(void *context, uint64_t phys) {
    (void)context;
    uint64_t index = (phys - BASE_PHYS) / PAGE_BYTES;
    return phys >= BASE_PHYS && index < TABLES ? pages[index] : NULL;
}

/* xorshift64: Marsaglia, "Xorshift RNGs", 2003. */
static uint64_t next_random(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

int main(void) {
    uint64_t state = UINT64_C(0x2545f4914f6cdd1d);
    for (unsigned i = 0; i < UPPER_TABLES; i++) {
        unsigned below = i + 1 < UPPER_TABLES ? 1 : LEAF_TABLES;
        for (unsigned j = 0; j < below; j++) {
            pages[i][j] = (BASE_PHYS + (i + 1 + j) * PAGE_BYTES) | ENTRY_PRESENT | ENTRY_WRITABLE;
        }
    }
    for (unsigned i = UPPER_TABLES; i < TABLES; i++) {
        for (unsigned j = 0; j < PAGE_ENTRIES; j++) {
            pages[i][j] = next_random(&state);
        }
    }
    size_t words = DUMP_SCRATCH_WORDS(TABLES);
    uint64_t *scratch = calloc(words, sizeof(*scratch));
    uint64_t capacity = 4 * sizeof(pages);
    char *bytes = malloc(capacity);
    if (scratch == NULL || bytes == NULL) {
        return 1;
    }
    struct buffer_sink buffer;
    struct trace trace;
    struct physical_memory memory = {page_at, NULL};
    buffer_sink_init(&buffer, bytes, capacity);
    trace_init(&trace);
    if (!trace_add_sink(&trace, &buffer.sink) ||
        dump_write(&trace, "new", BASE_PHYS, 4, &memory, scratch, words) != DUMP_OK ||
        buffer.dropped != 0) {
        fprintf(stderr, "measure_dump: the dump failed\n");
        return 1;
    }
    printf("%llu %zu\n", (unsigned long long)buffer.used, sizeof(pages));
    free(bytes);
    free(scratch);
    return 0;
}
