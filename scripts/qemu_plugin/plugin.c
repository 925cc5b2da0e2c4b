/**
 * A plugin of QEMU's TCG that keeps who wrote each word of the guest's memory last, and which way
 * the CPUs came.
 *
 * `-plugin FILE,out=PATH[,first=ADDRESS,last=ADDRESS]`. What it writes stands in layout.h. With
 * addresses nothing is kept before code between them is met.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "cpu.h"
#include "file.h"
#include "instruction.h"
#include "known.h"
#include "memory.h"
#include "moments.h"
#include "qemu_api.h"

int qemu_plugin_version = CR3SCOPE_API;

enum { LONGEST = 15, PAGE = 4096 };

static struct known instructions, blocks;

/* Where the guest's memory cannot be looked at: what QEMU tells of a store, if that is a whole
 * word. */
static struct stored value_of(qemu_plugin_meminfo_t info, uint64_t virt, uint64_t size) {
#if CR3SCOPE_API >= 4
    if (size == 8 && virt % 8 == 0) {
        return (struct stored){qemu_plugin_mem_get_value(info).data.u64, 1};
    }
#endif
    (void)info;
    (void)virt;
    (void)size;
    return (struct stored){0, 0};
}

#if CR3SCOPE_API >= 5
static struct page_at *translated_page(const struct site *site, qemu_plugin_meminfo_t info,
                                       uint64_t virt) {
    uint64_t phys = 0;

    (void)site;
    (void)info;
    return qemu_plugin_translate_vaddr(virt, &phys) ? memory_page(phys) : NULL;
}
#else
/*
 * A store to a device may change where memory lies: QEMU from 8.1 on then looks for the device's
 * old place in its new list, and aborts. Such stores are those to PCI's configuration space and to
 * the flash, which the firmware does at the addresses that they have on every PC machine of QEMU;
 * of the stores of anybody else there nothing is known.
 */
static bool is_configuration(const struct site *site, uint64_t virt) {
    const uint64_t top = virt >> 28;
    const bool is_there = top == 0xb || top == 0xe || virt >> 24 == 0xff;

    if (is_there && site->virt >> 28 >= 0xb) {
        file_flag(FLAG_FULL);
    }
    return is_there;
}

static struct page_at *translated_page(const struct site *site, qemu_plugin_meminfo_t info,
                                       uint64_t virt) {
    if (is_configuration(site, virt)) {
        return NULL;
    }
    const struct qemu_plugin_hwaddr *address = qemu_plugin_get_hwaddr(info, virt);
    if (address == NULL || qemu_plugin_hwaddr_is_io(address)) {
        return NULL;
    }
    return memory_page(qemu_plugin_hwaddr_phys_addr(address));
}
#endif

/* The CPU has just translated the address itself, and keeps that in a TLB: so may we, for as long
 * as is certain. */
static __attribute__((noinline, cold)) struct page_at *
look_up(struct cpu *cpu, const struct site *site, qemu_plugin_meminfo_t info, uint64_t virt) {
    const uint64_t number = virt / PAGE + 1;
    struct page_at *page = translated_page(site, info, virt);

    cpu->translations[number % TRANSLATIONS] =
        (struct translation){number, cpu->trail->entries + TRUSTED_BLOCKS, page};
    return page;
}

static inline struct page_at *page_of(struct cpu *cpu, const struct site *site,
                                      qemu_plugin_meminfo_t info, uint64_t virt) {
    const uint64_t number = virt / PAGE + 1;
    const struct translation *known = &cpu->translations[number % TRANSLATIONS];

    if (__builtin_expect(known->virt != number || known->until < cpu->trail->entries, 0)) {
        return look_up(cpu, site, info, virt);
    }
    return known->page;
}

/* Of a store that is not within one word. */
static __attribute__((noinline, cold)) void note_wide(struct cpu *cpu, const struct site *site,
                                                      qemu_plugin_meminfo_t info, uint64_t virt,
                                                      uint64_t size, uint32_t store) {
    const uint64_t last = virt + size - 1;
    uint64_t word;

    for (word = virt / 8; word <= last / 8; word++) {
        struct page_at *page = page_of(cpu, site, info, word * 8);
        const uint64_t first_here = word == virt / 8 ? virt : word * 8;
        const uint64_t last_here = word == last / 8 ? last : word * 8 + 7;
        if (page != NULL) {
            const uint32_t slot = memory_slot(store, first_here % 8, last_here - first_here + 1);
            memory_note(page, word % PAGE_WORDS, slot, (struct stored){0, 0});
        }
    }
}

/*
 * Return how many bytes an access stores; 0 for a load, of which some versions tell too. QEMU says
 * it by calls, and an instruction's stores are nearly always of one size.
 */
static __attribute__((noinline, cold)) uint64_t asked_size(struct site *site,
                                                           qemu_plugin_meminfo_t info) {
    if (!qemu_plugin_mem_is_store(info)) {
        return 0;
    }
    const uint64_t size = UINT64_C(1) << (qemu_plugin_mem_size_shift(info) & 15);
    __atomic_store_n(&site->last_size, (uint64_t)info << 32 | size, __ATOMIC_RELAXED);
    return size;
}

static inline uint64_t size_of(struct site *site, qemu_plugin_meminfo_t info) {
    const uint64_t last = __atomic_load_n(&site->last_size, __ATOMIC_RELAXED);

    return __builtin_expect(last != 0 && last >> 32 == info, 1) ? last & UINT32_MAX
                                                                : asked_size(site, info);
}

static void on_store(unsigned int number, qemu_plugin_meminfo_t info, uint64_t virt,
                     void *userdata) {
    struct site *site = userdata;
    struct cpu *cpu = cpu_at(number);

    if (__builtin_expect(cpu == NULL, 0)) {
        return;
    }
    const uint64_t size = size_of(site, info);
    if (__builtin_expect(size == 0, 0)) {
        return;
    }
    if (site->is_call) {
        cpu->called = site;
    }
    if (__builtin_expect(--cpu->stores_left == 0, 0)) {
        moment_next(cpu);
    }
    const uint32_t store = moment_store(cpu, site);
    if (__builtin_expect(virt % 8 + size > 8, 0)) {
        note_wide(cpu, site, info, virt, size, store);
        return;
    }
    struct page_at *page = page_of(cpu, site, info, virt);
    if (__builtin_expect(page != NULL, 1)) {
        memory_note(page, virt % PAGE / 8, memory_slot(store, virt % 8, size),
                    page->words != NULL ? (struct stored){0, 0} : value_of(info, virt, size));
    }
}

static void on_block(unsigned int number, void *userdata) {
    const struct code *code = userdata;
    struct cpu *cpu = cpu_at(number);

    if (__builtin_expect(cpu == NULL, 0)) {
        return;
    }
    struct trail *trail = cpu->trail;
    trail->instructions += code->instructions;
    if (code == cpu->code && code->flow <= FLOW_JUMP) { /* around in itself */
        cpu->last->times++;
        return;
    }
    calls_enter(cpu, code);
    cpu->last = &trail->ring[trail->entries % TRAIL_LENGTH];
    *cpu->last = (struct trail_entry){code->number, 1};
    trail->entries++;
}

static void on_shaping(unsigned int number, void *userdata) {
    struct shaping *shaping = userdata;
    struct cpu *cpu = cpu_at(number);

    if (cpu == NULL) {
        return;
    }
    if (shaping->kind < EVENTS) {
        moment_event(cpu, shaping);
    }
    cpu_forget(cpu);
}

static uint32_t instruction_number(uint64_t virt, uint64_t size) {
    file_lock();
    uint32_t number = known_get(&instructions, virt, size);
    if (number == 0) {
        number = file_append(SECTION_INSTRUCTIONS);
        if (number != 0) {
            *file_instruction(number) = (struct instruction){virt, (uint32_t)size, 0};
            known_put(&instructions, virt, size, number);
        }
    }
    file_unlock();
    return number;
}

static uint32_t block_number(const struct code *code) {
    file_lock();
    uint32_t number = known_get(&blocks, code->first, code->next);
    if (number == 0) {
        number = file_append(SECTION_BLOCKS);
        if (number != 0) {
            const uint32_t last_size = (uint32_t)(code->next - code->last);
            *file_block(number) =
                (struct block){code->first, code->last, code->instructions, last_size};
            known_put(&blocks, code->first, code->next, number);
        }
    }
    file_unlock();
    return number;
}

static struct meaning meaning_of(const struct qemu_plugin_insn *insn) {
    uint8_t bytes[LONGEST];
    size_t size = qemu_plugin_insn_size(insn);

    size = size < LONGEST ? size : LONGEST;
#if CR3SCOPE_API >= 3
    size = qemu_plugin_insn_data(insn, bytes, size);
#else
    memcpy(bytes, qemu_plugin_insn_data(insn), size);
#endif
    return instruction_meaning(bytes, size);
}

/* What it points to stays: QEMU may enter the block as long as it runs. */
static void instrument(struct qemu_plugin_insn *insn, struct meaning meaning) {
    const uint64_t virt = qemu_plugin_insn_vaddr(insn);
    const uint64_t size = qemu_plugin_insn_size(insn);
    struct site *site = calloc(1, sizeof(*site));

    if (site != NULL) {
        *site = (struct site){
            .number = instruction_number(virt, size),
            .is_call = meaning.flow == FLOW_CALL,
            .virt = virt,
            .next = virt + size,
        };
        qemu_plugin_register_vcpu_mem_cb(insn, on_store, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_W,
                                         site);
    }
    if (meaning.event != EVENT_NONE) {
        struct shaping *shaping = calloc(1, sizeof(*shaping));
        if (shaping != NULL) {
            *shaping = (struct shaping){virt, meaning.event, 0};
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_shaping, QEMU_PLUGIN_CB_NO_REGS,
                                                   shaping);
        }
    }
}

static void translated(struct qemu_plugin_tb *tb) {
    const size_t count = qemu_plugin_tb_n_insns(tb);
    struct meaning meaning = {FLOW_OTHER, EVENT_NONE, 0};
    struct code *code = calloc(1, sizeof(*code));
    size_t i;

    if (code == NULL || count == 0) {
        free(code);
        return;
    }
    for (i = 0; i < count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        meaning = meaning_of(insn);
        instrument(insn, meaning);
        code->last = qemu_plugin_insn_vaddr(insn);
        code->next = code->last + qemu_plugin_insn_size(insn);
        code->first = i == 0 ? code->last : code->first;
    }
    code->flow = meaning.flow;
    code->target = meaning.flow == FLOW_JUMP ? code->next + (uint64_t)meaning.offset : code->next;
    code->instructions = (uint32_t)count;
    code->number = block_number(code);
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, QEMU_PLUGIN_CB_NO_REGS, code);
}

#if CR3SCOPE_API >= 7
static void on_translation(struct qemu_plugin_tb *tb, void *userdata) {
    (void)userdata;
    translated(tb);
}
#else
static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    translated(tb);
}
#endif

/* Where the code lies before which nothing is kept; `last` is 0 for all. */
static struct {
    uint64_t first;
    uint64_t last;
    bool is_met;
    qemu_plugin_id_t id;
} awaited;

static void await_code(struct qemu_plugin_tb *tb);

#if CR3SCOPE_API >= 7
static void keep_all(void *userdata) {
    (void)userdata;
    qemu_plugin_register_vcpu_tb_trans_cb(awaited.id, on_translation, NULL);
}

static void on_awaiting(struct qemu_plugin_tb *tb, void *userdata) {
    (void)userdata;
    await_code(tb);
}

static void begin_to_await(void) {
    qemu_plugin_register_vcpu_tb_trans_cb(awaited.id, on_awaiting, NULL);
}

static void begin_to_keep(void) {
    qemu_plugin_reset(awaited.id, keep_all, NULL);
}
#else
static void keep_all(qemu_plugin_id_t id) {
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
}

static void on_awaiting(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
    (void)id;
    await_code(tb);
}

static void begin_to_await(void) {
    qemu_plugin_register_vcpu_tb_trans_cb(awaited.id, on_awaiting);
}

static void begin_to_keep(void) {
    qemu_plugin_reset(awaited.id, keep_all);
}
#endif

/* Until that code is met the guest is as fast as without a plugin. */
static void await_code(struct qemu_plugin_tb *tb) {
    const uint64_t virt = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));

    if (!awaited.is_met && awaited.first <= virt && virt <= awaited.last) {
        awaited.is_met = true;
        begin_to_keep();
    }
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    const char *path = NULL;
    int i;

    for (i = 0; i < argc; i++) {
        const char *value = strchr(argv[i], '=');
        if (value == NULL) {
            continue;
        }
        value++;
        if (strncmp(argv[i], "out=", 4) == 0) {
            path = value;
        } else if (strncmp(argv[i], "first=", 6) == 0) {
            awaited.first = strtoull(value, NULL, 0);
        } else if (strncmp(argv[i], "last=", 5) == 0) {
            awaited.last = strtoull(value, NULL, 0);
        }
    }
    if (path == NULL || !info->system_emulation) {
        fprintf(stderr, "cr3scope plugin: out=PATH is missing, or this is no machine\n");
        return -1;
    }
    cpu_is_alone = info->system.max_vcpus == 1;
    if (!file_open(path) || !memory_begin() || !moments_begin()) {
        return -1;
    }
    awaited.id = id;
    if (awaited.last != 0) {
        begin_to_await();
        return 0;
    }
#if CR3SCOPE_API >= 7
    keep_all(NULL);
#else
    keep_all(id);
#endif
    return 0;
}
