#include "moments.h"

#include <stdbool.h>
#include <stdlib.h>

#include "file.h"

enum {
    MOST_EXACT = 16, /* of one instruction: of what a timer does thousands of times the order with
                        stores is rough */
};

uint32_t moment_now;
static uint64_t collect_at =
    1 << 19; /* so many stores, before those that no word holds any more are looked for */
static uint32_t *unused;
static uint64_t unused_count;
static uint8_t *seen; /* of each store: whether some word had it, the last time in bit 0 */

bool moments_begin(void) {
    unused = calloc(MOST_STORES + 1, sizeof(*unused));
    seen = calloc(MOST_STORES + 1, sizeof(*seen));
    return unused != NULL && seen != NULL;
}

/* Under the lock. Beyond the last moment that fits, all is of that one. */
static void begin(const struct cpu *cpu, uint64_t event) {
    const uint32_t number = file_append(SECTION_MOMENTS);

    if (number != 0) {
        *file_moment(number) = (struct moment){cpu->trail->instructions, event, cpu->number, 0};
        __atomic_store_n(&moment_now, number, __ATOMIC_RELEASE);
    }
}

void moment_next(struct cpu *cpu) {
    file_lock();
    begin(cpu, 0);
    file_unlock();
    cpu->stores_left = MOMENT_STORES;
}

void moment_event(struct cpu *cpu, struct shaping *shaping) {
    file_lock();
    const uint64_t number = file_header->events + 1;
    const bool is_exact = shaping->times < MOST_EXACT;
    if (number <= MOST_EVENTS && file_append(SECTION_EVENTS) == 0) {
        file_unlock();
        return;
    }
    shaping->times++;
    if (is_exact) {
        begin(cpu, number);
    }
    *file_event((uint32_t)((number - 1) % MOST_EVENTS) + 1) = (struct event){
        .virt = shaping->virt,
        .moment = moment_now,
        .cpu = (uint16_t)cpu->number,
        .kind = (uint16_t)shaping->kind,
        .call = cpu->call,
        .is_exact = is_exact,
    };
    __atomic_store_n(&file_header->events, number, __ATOMIC_RELEASE);
    if (is_exact) {
        begin(cpu, 0);
        cpu->stores_left = MOMENT_STORES;
    }
    file_unlock();
}

static void see(const uint32_t *slot) {
    const uint32_t store = __atomic_load_n(slot, __ATOMIC_RELAXED) & SLOT_STORE;

    seen[store % (MOST_STORES + 1)] |= 1;
}

/* Under the lock; returns how many are used. A number that no word has any more is free; where
 * there are several CPUs, once that was so twice: the first time another one may be about to put it
 * into a word. */
static uint64_t collect(void) {
    const uint64_t count = file_header->counts[SECTION_STORES];
    uint64_t used = 0;
    uint64_t page;
    uint64_t i;

    for (i = 1; i <= count; i++) {
        seen[i] = (uint8_t)(seen[i] << 1);
    }
    for (page = 1; page <= file_header->counts[SECTION_SLOTS]; page++) {
        const uint32_t *stores = file_slots((uint32_t)page)->stores;
        for (i = 0; i < PAGE_WORDS; i++) {
            see(&stores[i]);
        }
    }
    for (page = 1; page <= file_header->counts[SECTION_HALVES]; page++) {
        const uint32_t *stores = file_halves((uint32_t)page)->stores;
        for (i = 0; i < PAGE_WORDS; i++) {
            see(&stores[i]);
        }
    }
    for (i = 1; i <= count; i++) {
        used += seen[i] & 1;
        if ((seen[i] & (cpu_is_alone ? 1 : 3)) == 0) {
            unused[unused_count++] = (uint32_t)i;
        }
    }
    return used;
}

/* Under the lock. */
static uint32_t new_number(const struct cpu *cpu) {
    if (unused_count == 0 && file_header->counts[SECTION_STORES] >= collect_at) {
        const uint64_t used = collect();
        if ((used > collect_at / 2 || unused_count == 0) && collect_at < MOST_STORES) {
            collect_at *= 2;
        }
        begin(cpu, 0); /* so that no CPU goes on with a number from before */
    }
    const uint32_t number =
        unused_count != 0 ? unused[--unused_count] : file_append(SECTION_STORES);
    seen[number] = 1;
    return number;
}

static struct recent_store made(const struct cpu *cpu, uint32_t instruction) {
    file_lock();
    struct recent_store made = {instruction, cpu->call, 0, new_number(cpu)};
    made.moment = moment_now; /* after the number: a moment may have begun with it */
    if (made.number != 0) {
        *file_store(made.number) = (struct store){instruction, made.call, made.moment, cpu->number};
    }
    file_unlock();
    return made;
}

struct recent_store moment_new_store(struct cpu *cpu, uint32_t instruction) {
    struct recent_store *recent = &cpu->stores[(instruction ^ cpu->call * 0x9e5u) % RECENT];

    if (!moment_is_of(recent, cpu, instruction)) {
        *recent = made(cpu, instruction);
    }
    return *recent;
}
