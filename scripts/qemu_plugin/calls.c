#include "calls.h"

#include <stdbool.h>

#include "file.h"
#include "known.h"
#include "mix.h"

enum { FARTHEST = 256 }; /* calls that one return may end, as longjmp does */

static struct known known;

static uint32_t made(uint32_t parent, uint64_t virt, uint16_t size, bool is_interrupt) {
    const uint64_t second = (uint64_t)parent << 1 | is_interrupt;

    file_lock();
    uint32_t number = known_get(&known, virt, second);
    if (number == 0) {
        number = file_append(SECTION_CALLS);
        if (number != 0) {
            *file_call(number) = (struct call){virt, parent, size, is_interrupt};
            known_put(&known, virt, second, number);
        }
    }
    file_unlock();
    return number;
}

/* If there is no room for the call, none is known from here on, until a return to a caller that is.
 */
static void push(struct cpu *cpu, uint64_t virt, uint64_t next, bool is_interrupt) {
    struct recent_call *recent = &cpu->calls[mix(virt, cpu->call) & (RECENT - 1)];

    if (is_interrupt || recent->number == 0 || recent->parent != cpu->call ||
        recent->virt != virt) {
        const uint32_t number = made(cpu->call, virt, (uint16_t)(next - virt), is_interrupt);
        if (is_interrupt) {
            cpu->call = number;
            return;
        }
        *recent = (struct recent_call){virt, cpu->call, number};
    }
    cpu->call = recent->number;
}

/* To behind some call that is under way; else nobody knows who had called the code that goes on
 * there. */
static void pop(struct cpu *cpu, uint64_t to) {
    uint32_t call = cpu->call;
    int i;

    for (i = 0; i < FARTHEST && call != 0; i++) {
        const struct call *at = file_call(call);
        if (!at->is_interrupt && at->virt + at->size == to) {
            cpu->call = at->parent;
            return;
        }
        call = at->parent;
    }
    cpu->call = 0;
}

/* To where an interrupt or exception came: near the block's end, or behind an instruction that was
 * skipped. */
static void pop_interrupt(struct cpu *cpu, uint64_t to) {
    uint32_t call = cpu->call;
    int i;

    for (i = 0; i < FARTHEST && call != 0; i++) {
        const struct call *at = file_call(call);
        if (at->is_interrupt) {
            const uint64_t away = to > at->virt ? to - at->virt : at->virt - to;
            cpu->call = away < PAGE_WORDS * 8 ? at->parent : 0;
            return;
        }
        call = at->parent;
    }
    cpu->call = 0;
}

void calls_turn(struct cpu *cpu, const struct code *left, const struct code *now) {
    if (cpu->called != NULL) {
        push(cpu, cpu->called->virt, cpu->called->next, false);
        cpu->called = NULL;
        return;
    }
    switch (left->flow) {
    case FLOW_RETURN:
        pop(cpu, now->first);
        return;
    case FLOW_INTERRUPT_RETURN:
        pop_interrupt(cpu, now->first);
        cpu_forget(cpu); /* it may have switched tasks */
        return;
    case FLOW_INDIRECT:
        return;
    case FLOW_OTHER:
    case FLOW_JUMP:
    case FLOW_CALL:
        break;
    }
    if (now->first < left->first ||
        now->first > left->next) { /* else within: it was cut short, or goes on repeating */
        push(cpu, left->last, left->last, true);
        cpu_forget(cpu);
    }
}
