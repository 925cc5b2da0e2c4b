#include "known.h"

#include <stdlib.h>

#include "mix.h"

struct known_item {
    uint64_t first;
    uint64_t second;
    uint32_t number;
};

enum { SMALLEST = 1 << 12 };

static struct known_item *place(const struct known *known, uint64_t first, uint64_t second) {
    uint32_t at = (uint32_t)mix(first, second) & (known->size - 1);

    while (known->items[at].number != 0 &&
           (known->items[at].first != first || known->items[at].second != second)) {
        at = (at + 1) & (known->size - 1);
    }
    return &known->items[at];
}

uint32_t known_get(const struct known *known, uint64_t first, uint64_t second) {
    return known->size == 0 ? 0 : place(known, first, second)->number;
}

static void grow(struct known *known) {
    struct known larger = {NULL, known->size == 0 ? SMALLEST : known->size * 2, known->count};
    uint32_t i;

    larger.items = calloc(larger.size, sizeof(*larger.items));
    if (larger.items == NULL) {
        return;
    }
    for (i = 0; i < known->size; i++) {
        if (known->items[i].number != 0) {
            *place(&larger, known->items[i].first, known->items[i].second) = known->items[i];
        }
    }
    free(known->items);
    *known = larger;
}

void known_put(struct known *known, uint64_t first, uint64_t second, uint32_t number) {
    if (known->count * 2 >= known->size) {
        grow(known);
        if (known->count + 1 >= known->size) {
            return;
        }
    }
    struct known_item *item = place(known, first, second);
    known->count += item->number == 0;
    *item = (struct known_item){first, second, number};
}
