/** Injected faults: the list that inject= takes, and that every row of the table changes something.
 */
#include "support/cmocka_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "boot.h"
#include "handoff/ap_start.h"
#include "inject/spoil.h"

#define POOL_PAGES 64u
#define GIGABYTE (UINT64_C(1) << 30)
#define FIRMWARE_IDT_VIRT UINT64_C(0x6000) /* in the loader's data, for this test */
#define KERNEL_VIRT UINT64_C(0xffffffff80000000)

static void spell(char *text_ret, size_t size, const struct fault *fault) {
    snprintf(text_ret, size, fault->variant[0] != '\0' ? "%s:%s" : "%s", fault->id, fault->variant);
}

static void assert_refused(const char *list, const char *expected) {
    struct fault_set set = {.count = 77};
    struct message why;
    assert_false(faults_parse(list, &set, &why));
    assert_string_equal(why.text, expected);
    assert_int_equal(set.count, 77);
}

static void every_row_is_found_by_its_own_spelling_and_no_other(void **state) {
    (void)state;
    assert_true(fault_table_count > 0);
    for (size_t i = 0; i < fault_table_count; i++) {
        char text[100];
        struct fault_set set;
        struct message why;
        spell(text, sizeof(text), &fault_table[i]);
        assert_true(faults_parse(text, &set, &why));
        assert_int_equal(set.count, 1);
        assert_ptr_equal(set.faults[0], &fault_table[i]);
    }
}

static bool acts_on_tables(const struct fault *fault) {
    return fault->range.role != NULL || fault->entry.place != PLACE_NONE ||
           fault->mapping != NULL || fault->tables != NULL;
}

static void every_row_says_what_it_does_and_does_something(void **state) {
    (void)state;
    for (size_t i = 0; i < fault_table_count; i++) {
        const struct fault *fault = &fault_table[i];
        const char *const texts[] = {fault->id, fault->description, fault->outcome};
        for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++) {
            assert_non_null(texts[k]);
            assert_true(texts[k][0] != '\0');
        }
        assert_non_null(fault->variant);
        assert_true(acts_on_tables(fault) || fault->configure != NULL || fault->kernel != NULL ||
                    fault->handoff != NULL || fault->state != NULL || fault->start != NULL);
    }
}

static void empty_list_is_the_empty_set(void **state) {
    (void)state;
    struct fault_set set = {.count = 77};
    struct message why;
    assert_true(faults_parse("", &set, &why));
    assert_int_equal(set.count, 0);
}

static void list_keeps_the_order(void **state) {
    (void)state;
    struct fault_set set;
    struct message why;
    assert_true(faults_parse("stack-unmapped,nx-upper-level:low,nx-upper-level", &set, &why));
    assert_int_equal(set.count, 3);
    assert_string_equal(set.faults[0]->id, "stack-unmapped");
    assert_string_equal(set.faults[1]->variant, "low");
    assert_string_equal(set.faults[2]->id, "nx-upper-level");
    assert_string_equal(set.faults[2]->variant, "");
}

static void unknown_faults_are_refused_by_name(void **state) {
    (void)state;
    static const char *const lists[][2] = {
        {"nosuch", "nosuch"},
        {"stack-unmapped,nosuch,idt-unmapped", "nosuch"},
        {"Stack-unmapped", "Stack-unmapped"},
        {"stack-unmapped2", "stack-unmapped2"},
        {"stack-unmappe", "stack-unmappe"},
        {"stack-unmapped:low", "stack-unmapped:low"},
        {"nx-upper-level:lo", "nx-upper-level:lo"},
        {"nx-upper-level:low:", "nx-upper-level:low:"},
        {"stack-unmapped idt-unmapped", "stack-unmapped idt-unmapped"},
        {",stack-unmapped", ""},
        {"stack-unmapped,,idt-unmapped", ""},
        {":", ":"},
        {"a\x1b[2J", "a?[2J"},
    };
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        char expected[100];
        snprintf(expected, sizeof(expected), "no such fault: %s", lists[i][1]);
        assert_refused(lists[i][0], expected);
    }
}

static void comma_at_the_end_is_refused(void **state) {
    (void)state;
    assert_refused("stack-unmapped,", "a fault's name is missing at the end of the list");
}

static void one_more_than_fits_is_refused(void **state) {
    (void)state;
    char list[200] = "";
    for (size_t i = 0; i < FAULTS_AT_ONCE; i++) {
        strcat(list, i > 0 ? ",idt-unmapped" : "idt-unmapped");
    }
    struct fault_set set;
    struct message why;
    assert_true(faults_parse(list, &set, &why));
    assert_int_equal(set.count, FAULTS_AT_ONCE);
    strcat(list, ",stack-unmapped");
    assert_refused(list, "too many faults, from: stack-unmapped");
}

/* One range of each role, two pages each, as mapping.c makes them. */
static const struct mapping ranges[] = {
    {"kernel text", "text", KERNEL_VIRT, 0x2000, 0x100000, RIGHT_READ | RIGHT_EXECUTE, 0, 0},
    {"kernel rodata", "rodata", KERNEL_VIRT + 0x2000, 0x2000, 0x102000, RIGHT_READ, 0, 0},
    {"kernel data", "data", KERNEL_VIRT + 0x4000, 0x2000, 0x104000, RIGHT_READ | RIGHT_WRITE, 0, 0},
    {"stack 0", "stack", HANDOFF_STACKS_VIRT + 0x1000, 0x4000, 0x110000, RIGHT_READ | RIGHT_WRITE,
     0, 0},
    {"boot info", "boot-info", HANDOFF_INFO_VIRT, 0x1000, 0x120000, RIGHT_READ, 0, 0},
    {"memory map", "memory-map", HANDOFF_INFO_VIRT + 0x2000, 0x2000, 0x121000, RIGHT_READ, 0, 0},
    {"initrd", "initrd", HANDOFF_INFO_VIRT + 0x5000, 0x2000, 0x130000, RIGHT_READ, 0, 0},
    {"frame buffer", "framebuffer", HANDOFF_FRAMEBUFFER_VIRT, LARGE_PAGE_BYTES, 0x80000000,
     RIGHT_READ | RIGHT_WRITE, MEMORY_WRITE_COMBINING, 2},
    {"handoff code", "trampoline", 0, 0x1000, 0, RIGHT_READ | RIGHT_EXECUTE, 0, 0},
    {"identity map", "identity", 3 * GIGABYTE, GIGABYTE, 3 * GIGABYTE, RIGHT_READ, 0, 3},
    {"loader text", "loader", 0x5000, 0x1000, 0x5000, RIGHT_READ | RIGHT_EXECUTE, 0, 0},
    {"loader data", "loader", FIRMWARE_IDT_VIRT, 0x1000, FIRMWARE_IDT_VIRT,
     RIGHT_READ | RIGHT_WRITE, 0, 0},
    {"GDT and TSS", "gdt", 0x8000, 0x1000, 0x8000, RIGHT_READ | RIGHT_WRITE, 0, 0},
    {"AP code", "ap-code", 0x9e000, 0x1000, 0x9e000, RIGHT_READ | RIGHT_EXECUTE, 0, 0},
    {"safe IDT", "idt", 0x7000, 0x1000, 0x7000, RIGHT_READ | RIGHT_WRITE, 0, 0},
};
#define RANGES (sizeof(ranges) / sizeof(ranges[0]))

static struct boot boot;
static struct handoff info;

/* A boot whose tables are in the pool: every range is mapped, and every fault of the set had its
 * turn. framebuffer_bytes: 0: it has none. */
static void build(const struct fault_set *set, unsigned levels, uint64_t *pool,
                  uint64_t framebuffer_bytes) {
    struct message why;
    info = (struct handoff){
        .self = {.virt = HANDOFF_INFO_VIRT},
        .tables = {.virt = HANDOFF_INFO_VIRT + 0x8000},
        .framebuffer = {.range = {.virt = framebuffer_bytes != 0 ? HANDOFF_FRAMEBUFFER_VIRT : 0,
                                  .bytes = framebuffer_bytes}},
        .stacks = {.virt = HANDOFF_STACKS_VIRT, .stride = 0x5000},
    };
    boot = (struct boot){
        .config = {.identity_full = true},
        .faults = *set,
        .cpu = {.idt = {.base = FIRMWARE_IDT_VIRT}},
        .kernel = {.entry = KERNEL_VIRT,
                   .segment_count = 3,
                   .segments = {{.flags = SEGMENT_READ | SEGMENT_EXECUTE,
                                 .vaddr = KERNEL_VIRT,
                                 .memsz = 0x2000},
                                {.flags = SEGMENT_READ, .vaddr = KERNEL_VIRT + 0x2000},
                                {.flags = SEGMENT_READ | SEGMENT_WRITE,
                                 .vaddr = KERNEL_VIRT + 0x4000}}},
        .space = {.trace = &boot.trace, .has_no_execute = true, .write_combining = 4},
        .info = &info,
    };
    trace_init(&boot.trace);
    memset(pool, 0, POOL_PAGES * PAGE_BYTES);
    assert_true(address_space_create(&boot.space, levels, (uint64_t)pool, POOL_PAGES, &why));
    spoil_mappings(&boot);
    for (size_t i = 0; i < RANGES; i++) {
        struct mapping range = ranges[i];
        if (strcmp(range.role, "framebuffer") == 0 && framebuffer_bytes == 0) {
            continue;
        }
        if (strcmp(range.role, "trampoline") == 0) {
            range.virt = range.phys = (uint64_t)own_switch & ~(PAGE_BYTES - 1);
        }
        if (!address_space_map(&boot.space, &range, &why)) {
            fail_msg("%s", why.text);
        }
    }
    spoil_tables(&boot);
}

static const struct fault_set no_faults = {.count = 0};

static bool is_mapped(uint64_t virt) {
    unsigned level = 1;
    while (level < boot.space.table.levels && address_space_get(&boot.space, virt, level) == 0) {
        level++;
    }
    uint64_t entry = address_space_get(&boot.space, virt, level);
    return (entry & ENTRY_PRESENT) != 0 && entry_is_leaf(entry, level);
}

/* A place that spoil.c does not know would edit nothing, or what it does not mean. */
static void every_place_is_mapped_in_a_boot_that_has_all(void **state) {
    (void)state;
    uint64_t *pool = aligned_alloc(PAGE_BYTES, POOL_PAGES * PAGE_BYTES);
    assert_non_null(pool);
    for (unsigned levels = 4; levels <= 5; levels++) {
        struct fault_scene scene;
        build(&no_faults, levels, pool, LARGE_PAGE_BYTES);
        spoil_scene(&boot, &scene);
        for (unsigned place = PLACE_NONE + 1; place < PLACES; place++) {
            if (!is_mapped(scene.places[place])) {
                fail_msg("place %u is at %#llx, which is not mapped", place,
                         (unsigned long long)scene.places[place]);
            }
        }
    }
    free(pool);
}

static void fault_at_an_absent_frame_buffer_changes_no_table(void **state) {
    (void)state;
    uint64_t *pool = aligned_alloc(PAGE_BYTES, POOL_PAGES * PAGE_BYTES);
    uint64_t *healthy = malloc(POOL_PAGES * PAGE_BYTES);
    size_t rows = 0;
    assert_non_null(pool);
    assert_non_null(healthy);
    build(&no_faults, 4, pool, 0);
    memcpy(healthy, pool, POOL_PAGES * PAGE_BYTES);
    for (size_t i = 0; i < fault_table_count; i++) {
        if (fault_table[i].entry.place == PLACE_FRAMEBUFFER) {
            const struct fault_set set = {.faults = {&fault_table[i]}, .count = 1};
            build(&set, 4, pool, 0);
            assert_memory_equal(pool, healthy, POOL_PAGES * PAGE_BYTES);
            rows++;
        }
    }
    assert_true(rows > 0);
    free(pool);
    free(healthy);
}

static void every_row_changes_what_it_says_and_nothing_else_at_both_depths(void **state) {
    (void)state;
    static const struct cr3scope_request good = {.root = 0x200000,
                                                 .stack_top = HANDOFF_STACKS_VIRT + 0x5000,
                                                 .entry = KERNEL_VIRT,
                                                 .arguments = {HANDOFF_INFO_VIRT}};
    static const struct cpu_state healthy_state = {.efer = 0xd00};
    uint64_t *pool = aligned_alloc(PAGE_BYTES, POOL_PAGES * PAGE_BYTES);
    uint64_t *healthy = malloc(POOL_PAGES * PAGE_BYTES);
    assert_non_null(pool);
    assert_non_null(healthy);
    for (unsigned levels = 4; levels <= 5; levels++) {
        build(&no_faults, levels, pool, LARGE_PAGE_BYTES);
        memcpy(healthy, pool, POOL_PAGES * PAGE_BYTES);
        for (size_t i = 0; i < fault_table_count; i++) {
            const struct fault *fault = &fault_table[i];
            const struct fault_set set = {.faults = {fault}, .count = 1};
            struct cr3scope_request request = good;
            struct cpu_state cpu = healthy_state;
            build(&set, levels, pool, LARGE_PAGE_BYTES);
            faults_spoil_handoff(&set, &request);
            faults_spoil_state(&set, &cpu);
            bool tables = memcmp(pool, healthy, POOL_PAGES * PAGE_BYTES) != 0;
            bool handoff = memcmp(&request, &good, sizeof(good)) != 0;
            bool registers = memcmp(&cpu, &healthy_state, sizeof(cpu)) != 0;
            if (tables != acts_on_tables(fault) || handoff != (fault->handoff != NULL) ||
                registers != (fault->state != NULL)) {
                fail_msg("%s:%s with %u levels: tables %d, handoff %d, registers %d", fault->id,
                         fault->variant, levels, tables, handoff, registers);
            }
        }
    }
    free(pool);
    free(healthy);
}

/* What the other CPUs run through, as the loader prepares it. */
struct start_scene {
    struct handoff_start start;
    struct ap_start_data data;
    uint8_t code[64];
};

static void every_row_changes_the_start_of_other_cpus_that_says_so(void **state) {
    (void)state;
    static const struct handoff_stacks stacks = {.virt = HANDOFF_STACKS_VIRT,
                                                 .stride = 0x5000,
                                                 .guard_bytes = 0x1000,
                                                 .usable_bytes = 0x4000};
    for (size_t i = 0; i < fault_table_count; i++) {
        const struct fault_set set = {.faults = {&fault_table[i]}, .count = 1};
        struct start_scene healthy;
        struct start_scene changed;
        memset(&healthy, 0xff, sizeof(healthy));
        memcpy(&changed, &healthy, sizeof(healthy));
        const struct fault_start scene = {.start = &changed.start,
                                          .data = &changed.data,
                                          .code = changed.code,
                                          .code_bytes = sizeof(changed.code),
                                          .without_lidt = 0x30,
                                          .stacks = &stacks};
        faults_spoil_start(&set, &scene);
        if ((memcmp(&changed, &healthy, sizeof(healthy)) != 0) != (fault_table[i].start != NULL)) {
            fail_msg("%s:%s", fault_table[i].id, fault_table[i].variant);
        }
    }
}

static void a_boot_without_a_block_is_not_spoilt(void **state) {
    (void)state;
    struct fault_set set;
    struct message why;
    assert_true(faults_parse("ap-nxe-missing", &set, &why));
    info = (struct handoff){.magic = HANDOFF_MAGIC};
    boot = (struct boot){.faults = set, .info = &info};
    spoil_start(&boot);
    assert_null(ap_start_data(&boot));
}

static void every_change_of_the_configuration_is_one(void **state) {
    (void)state;
    for (size_t i = 0; i < fault_table_count; i++) {
        const struct fault_set set = {.faults = {&fault_table[i]}, .count = 1};
        struct config config = {0};
        const struct config healthy = {0};
        faults_configure(&set, &config);
        assert_int_equal(memcmp(&config, &healthy, sizeof(config)) != 0,
                         fault_table[i].configure != NULL);
    }
}

static void kernel_word_goes_in_front_of_the_others(void **state) {
    (void)state;
    struct fault_set set;
    struct message why;
    struct config config = {.kernel = "exit=none"};
    assert_true(faults_parse("hang-hlt", &set, &why));
    faults_configure(&set, &config);
    assert_string_equal(config.kernel, "do=hlt exit=none");
    memset(config.kernel, 'x', sizeof(config.kernel) - 1);
    faults_configure(&set, &config);
    assert_int_equal(strlen(config.kernel), sizeof(config.kernel) - 1);
}

static void every_change_of_the_kernel_is_inside_its_image(void **state) {
    (void)state;
    static const struct elf_image kernel = {
        .entry = KERNEL_VIRT + 0x10,
        .first_page = KERNEL_VIRT,
        .last_page = KERNEL_VIRT + PAGE_BYTES,
        .segment_count = 2,
        .segments = {{.flags = SEGMENT_READ | SEGMENT_EXECUTE,
                      .vaddr = KERNEL_VIRT,
                      .filesz = 0x800,
                      .memsz = 0x800},
                     {.flags = SEGMENT_READ | SEGMENT_WRITE,
                      .vaddr = KERNEL_VIRT + PAGE_BYTES,
                      .filesz = 0x100,
                      .memsz = 0x200}},
    };
    for (size_t i = 0; i < fault_table_count; i++) {
        const struct fault_set set = {.faults = {&fault_table[i]}, .count = 1};
        uint8_t *bytes = malloc(2 * PAGE_BYTES);
        uint8_t *before = malloc(2 * PAGE_BYTES);
        assert_non_null(bytes);
        assert_non_null(before);
        memset(before, 0x11, 2 * PAGE_BYTES);
        memcpy(bytes, before, 2 * PAGE_BYTES);
        faults_spoil_kernel(&set, &kernel, bytes);
        assert_int_equal(memcmp(bytes, before, 2 * PAGE_BYTES) != 0, fault_table[i].kernel != NULL);
        free(bytes);
        free(before);
    }
}

static void range_edit_touches_its_role_alone(void **state) {
    (void)state;
    for (size_t i = 0; i < fault_table_count; i++) {
        const struct fault *fault = &fault_table[i];
        const struct fault_set set = {.faults = {fault}, .count = 1};
        for (size_t k = 0; k < RANGES && fault->mapping == NULL; k++) {
            struct mapping range = ranges[k];
            bool kept = faults_adjust_mapping(&set, &range);
            bool touched = !kept || memcmp(&range, &ranges[k], sizeof(range)) != 0;
            bool same_role =
                fault->range.role != NULL && strcmp(range.role, fault->range.role) == 0;
            assert_true(!touched || same_role);
        }
    }
}

static void range_of_one_page_that_is_cut_short_is_left_out(void **state) {
    (void)state;
    for (size_t i = 0; i < fault_table_count; i++) {
        const struct fault_set set = {.faults = {&fault_table[i]}, .count = 1};
        for (size_t k = 0; k < RANGES && fault_table[i].mapping == NULL; k++) {
            struct mapping range = ranges[k];
            range.bytes = PAGE_BYTES;
            if (faults_adjust_mapping(&set, &range)) {
                assert_int_equal(range.bytes, PAGE_BYTES);
            }
        }
    }
}

static void faults_add_up(void **state) {
    (void)state;
    struct fault_set set;
    struct message why;
    assert_true(faults_parse("stack-readonly,idt-unmapped", &set, &why));
    struct mapping stack = ranges[3];
    struct mapping idt = ranges[RANGES - 1];
    assert_true(faults_adjust_mapping(&set, &stack));
    assert_int_equal(stack.rights, RIGHT_READ);
    assert_false(faults_adjust_mapping(&set, &idt));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_found_by_its_own_spelling_and_no_other),
        cmocka_unit_test(every_row_says_what_it_does_and_does_something),
        cmocka_unit_test(empty_list_is_the_empty_set),
        cmocka_unit_test(list_keeps_the_order),
        cmocka_unit_test(unknown_faults_are_refused_by_name),
        cmocka_unit_test(comma_at_the_end_is_refused),
        cmocka_unit_test(one_more_than_fits_is_refused),
        cmocka_unit_test(every_place_is_mapped_in_a_boot_that_has_all),
        cmocka_unit_test(fault_at_an_absent_frame_buffer_changes_no_table),
        cmocka_unit_test(every_row_changes_what_it_says_and_nothing_else_at_both_depths),
        cmocka_unit_test(every_row_changes_the_start_of_other_cpus_that_says_so),
        cmocka_unit_test(a_boot_without_a_block_is_not_spoilt),
        cmocka_unit_test(every_change_of_the_configuration_is_one),
        cmocka_unit_test(kernel_word_goes_in_front_of_the_others),
        cmocka_unit_test(every_change_of_the_kernel_is_inside_its_image),
        cmocka_unit_test(range_edit_touches_its_role_alone),
        cmocka_unit_test(range_of_one_page_that_is_cut_short_is_left_out),
        cmocka_unit_test(faults_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
