#include "table_queue.h"

#include "trace/paging.h"

/* The low twelve bits of a page's address are free. */
#define VISIT_LEVEL (PAGE_BYTES - 1)

void table_queue_init(struct table_queue *queue, uint64_t *memory, size_t words) {
    queue->capacity = words / 3;
    queue->slots = queue->capacity * 2; /* never more than half full: probing stays short */
    queue->visits = memory;
    queue->met = memory + queue->capacity;
    queue->added = 0;
    queue->taken = 0;
    for (size_t i = 0; i < queue->slots; i++) {
        queue->met[i] = 0;
    }
}

/* The slot that holds this mark, or the free one where it belongs. */
static uint64_t *find_slot(const struct table_queue *queue, uint64_t mark) {
    uint64_t hash = mark * UINT64_C(0x9e3779b97f4a7c15); /* 2^64 over the golden ratio */
    size_t slot = (size_t)((hash >> 32) % queue->slots);
    while (queue->met[slot] != 0 && queue->met[slot] != mark) {
        slot = slot + 1 == queue->slots ? 0 : slot + 1;
    }
    return &queue->met[slot];
}

bool table_queue_add(struct table_queue *queue, uint64_t phys, unsigned level) {
    if (queue->capacity == 0) {
        return false;
    }
    uint64_t mark = phys / PAGE_BYTES + 1;
    uint64_t *slot = find_slot(queue, mark);
    if (*slot == mark) {
        return true;
    }
    if (queue->added == queue->capacity) {
        return false;
    }
    *slot = mark;
    queue->visits[queue->added++] = phys | level;
    return true;
}

bool table_queue_take(struct table_queue *queue, struct table_visit *visit_ret) {
    if (queue->taken == queue->added) {
        return false;
    }
    uint64_t visit = queue->visits[queue->taken++];
    visit_ret->phys = visit & ~VISIT_LEVEL;
    visit_ret->level = (unsigned)(visit & VISIT_LEVEL);
    return true;
}
