/* The block through which the other CPUs start: where it lies, and what it holds. */
#include "support/cmocka_test.h"

#include <stdlib.h>
#include <string.h>

#include "boot.h"
#include "handoff/ap_layout.h"
#include "handoff/ap_start.h"
#include "trace/control_registers.h"

static struct boot boot;
static struct handoff info;
static uint64_t asked_limit;

static bool gives_none(void *context, const char *what, uint64_t pages, uint64_t limit,
                       uint64_t *phys_ret, struct message *why) {
    (void)context, (void)what, (void)pages, (void)phys_ret, (void)why;
    asked_limit = limit;
    return false;
}

static void make(uint32_t cpus, uint32_t known) {
    info = (struct handoff){.stacks = {.virt = 0x10000, .stride = 0x5000}};
    boot = (struct boot){.info = &info,
                         .cpu_count = cpus,
                         .apic_ids = {0, 4, 2},
                         .apic_id_count = known,
                         .pages = {.allocate_below = gives_none}};
    asked_limit = 0;
}

static void without_memory_below_1_mib_there_is_no_block(void **state) {
    (void)state;
    make(3, 3);
    ap_start_allocate(&boot);
    assert_int_equal(asked_limit, 0xa0000);
    assert_null(ap_start_data(&boot));
    ap_start_prepare(&boot);
    assert_int_equal(info.start.code.bytes, 0);
}

static void each_cpu_has_its_id_and_the_top_of_its_own_stack(void **state) {
    (void)state;
    make(3, 3);
    ap_start_allocate(&boot);
    assert_int_equal(info.start.cpu_count, 3);
    assert_int_equal(info.start.cpus[1].apic_id, 4);
    assert_int_equal(info.start.cpus[2].apic_id, 2);
    assert_int_equal(info.start.cpus[0].stack_top, 0x15000);
    assert_int_equal(info.start.cpus[2].stack_top, 0x1f000);
}

static void one_cpu_asks_for_nothing(void **state) {
    (void)state;
    make(1, 1);
    ap_start_allocate(&boot);
    make(4, 0); /* nobody knows their ids */
    ap_start_allocate(&boot);
    assert_int_equal(asked_limit, 0);
}

static void the_data_hold_the_state_of_the_switch(void **state) {
    (void)state;
    make(2, 2);
    uint8_t *block = aligned_alloc(0x1000, AP_BLOCK_BYTES);
    assert_non_null(block);
    memset(block, 0, AP_BLOCK_BYTES);
    info.start.code = (struct handoff_range){(uint64_t)block, (uint64_t)block, AP_DATA};
    info.start.data =
        (struct handoff_range){(uint64_t)block + AP_DATA, (uint64_t)block + AP_DATA, 0x1000};
    boot.planned = (struct cpu_state){.cr0 = 0x80010033,
                                      .cr4 = CR4_PAE | CR4_PCIDE | CR4_CET | CR4_SMEP,
                                      .efer = EFER_LME | EFER_LMA | EFER_NXE,
                                      .pat = 0x1234};
    boot.request.root = 0x200000;
    ap_start_prepare(&boot);
    const struct ap_start_data *data = ap_start_data(&boot);
    assert_int_equal(data->cr0, 0x80010033);
    assert_int_equal(data->cr3, 0x200000);
    assert_int_equal(data->cr4, CR4_PAE | CR4_SMEP);
    assert_int_equal(data->efer, EFER_LME | EFER_NXE);
    assert_int_equal(data->pat, 0x1234);
    assert_int_equal(data->gdt_limit, 0x1f);
    assert_int_equal((uint32_t)data->gdt_base[1] << 16 | data->gdt_base[0],
                     (uint32_t)(uint64_t)block + AP_GDT);
    assert_true(ap_start_code_bytes() > 64 && ap_start_code_bytes() <= AP_DATA);
    assert_int_equal(ap_start_difference(&boot), ap_start_code_bytes());
    block[7] ^= 1;
    assert_int_equal(ap_start_difference(&boot), 7);
    free(block);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory_below_1_mib_there_is_no_block),
        cmocka_unit_test(each_cpu_has_its_id_and_the_top_of_its_own_stack),
        cmocka_unit_test(one_cpu_asks_for_nothing),
        cmocka_unit_test(the_data_hold_the_state_of_the_switch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
