/** The plan: the accesses of the switch itself, those that the kernel's notes add, and the `plan`
 * records. */
#include "support/cmocka_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "evidence/access_plan.h"
#include "support/recording_sink.h"

#define OWN_STEPS 3u
#define MAX_NOTES 64u

static const struct plan_addresses addresses = {
    .after_cr3 = 0x1000,
    .stack_write = 0x1004,
    .pending_vector = -1,
    .code_end = 0x1008,
    .stack_top = UINT64_C(0xfffffe0000005000),
    .entry = UINT64_C(0xffffffff80000010),
    .info = UINT64_C(0xfffffc0000000000),
    .memory_map = UINT64_C(0xfffffc0000002000),
    .initrd = UINT64_C(0xfffffc0000100000),
    .framebuffer = UINT64_C(0xfffffd0000000000),
    .framebuffer_bytes = 0x300000,
};

struct note {
    struct elf64_note head;
    char owner[12];
    struct handoff_access access;
};

/* A file of nothing but notes; elf_check() would want more, the plan does not. */
struct notes_file {
    struct elf64_header header;
    struct elf64_segment segment;
    struct note notes[MAX_NOTES];
};

static struct notes_file *file_of(const struct handoff_access *accesses, size_t count) {
    struct notes_file *file = calloc(1, sizeof(*file));
    assert_non_null(file);
    assert_true(count <= MAX_NOTES);
    file->header.phoff = offsetof(struct notes_file, segment);
    file->header.phnum = 1;
    file->segment.type = SEGMENT_NOTE;
    file->segment.offset = offsetof(struct notes_file, notes);
    file->segment.filesz = count * sizeof(struct note);
    for (size_t i = 0; i < count; i++) {
        file->notes[i].head = (struct elf64_note){9, sizeof(accesses[i]), HANDOFF_NOTE_ACCESS};
        memcpy(file->notes[i].owner, HANDOFF_NOTE_OWNER, 9);
        file->notes[i].access = accesses[i];
    }
    return file;
}

static struct access_plan plan_with(const struct plan_addresses *where,
                                    const struct handoff_access *accesses, size_t count) {
    struct notes_file *file = file_of(accesses, count);
    const struct elf_image kernel = {.file = (const uint8_t *)file, .bytes = sizeof(*file)};
    struct access_plan plan;
    memset(&plan, 0x5a, sizeof(plan));
    access_plan_make(&plan, where, &kernel);
    free(file);
    return plan;
}

static void switch_alone_fetches_pushes_and_enters_the_kernel(void **state) {
    (void)state;
    struct access_plan plan = plan_with(&addresses, NULL, 0);
    static const struct plan_step expected[] = {
        {"instruction after mov cr3", {0x1000, 8, ACCESS_FETCH, 0}, 0x1000, -1},
        {"first push on the new stack",
         {UINT64_C(0xfffffe0000004ff8), 8, ACCESS_WRITE, 0},
         0x1004,
         -1},
        {"kernel entry",
         {UINT64_C(0xffffffff80000010), 1, ACCESS_FETCH, 0},
         UINT64_C(0xffffffff80000010),
         -1},
    };
    assert_int_equal(plan.count, OWN_STEPS);
    for (size_t i = 0; i < OWN_STEPS; i++) {
        assert_string_equal(plan.steps[i].name, expected[i].name);
        assert_int_equal(plan.steps[i].access.virt, expected[i].access.virt);
        assert_int_equal(plan.steps[i].access.width, expected[i].access.width);
        assert_int_equal(plan.steps[i].access.kind, expected[i].access.kind);
        assert_int_equal(plan.steps[i].rip, expected[i].rip);
        assert_int_equal(plan.steps[i].vector, -1);
    }
}

static void breakpoint_comes_right_before_the_entry(void **state) {
    (void)state;
    struct plan_addresses stopping = addresses;
    stopping.breakpoint = 0x1002;
    struct access_plan plan = plan_with(&stopping, NULL, 0);
    assert_int_equal(plan.count, OWN_STEPS + 1);
    assert_int_equal(plan.steps[2].vector, 3);
    assert_int_equal(plan.steps[2].access.virt, 0x1002);
    assert_int_equal(plan.steps[2].rip, 0x1002);
}

static void pending_interrupt_comes_before_the_first_instruction(void **state) {
    (void)state;
    struct plan_addresses waiting = addresses;
    waiting.pending_vector = 0x20;
    struct access_plan plan = plan_with(&waiting, NULL, 0);
    assert_int_equal(plan.count, OWN_STEPS + 1);
    assert_int_equal(plan.steps[0].vector, 0x20);
    assert_int_equal(plan.steps[0].rip, plan.steps[1].rip);
}

static void aligned_write_demands_its_width_and_a_power_of_two(void **state) {
    (void)state;
    struct handoff_access access = {
        .kind = HANDOFF_WRITE_ALIGNED, .base = HANDOFF_BASE_STACK, .width = 16, .name = "movaps"};
    struct access_plan plan = plan_with(&addresses, &access, 1);
    assert_int_equal(plan.count, OWN_STEPS + 1);
    assert_int_equal(plan.steps[OWN_STEPS].access.kind, ACCESS_WRITE);
    assert_int_equal(plan.steps[OWN_STEPS].access.align, 16);
    access.width = 24;
    assert_int_equal(plan_with(&addresses, &access, 1).count, OWN_STEPS);
}

static const struct {
    uint32_t base;
    uint64_t virt; /* of offset 0 */
} bases[] = {
    {HANDOFF_BASE_ABSOLUTE, 0},
    {HANDOFF_BASE_INFO, UINT64_C(0xfffffc0000000000)},
    {HANDOFF_BASE_STACK, UINT64_C(0xfffffe0000004ff8)},
    {HANDOFF_BASE_FRAMEBUFFER, UINT64_C(0xfffffd0000000000)},
    {HANDOFF_BASE_INITRD, UINT64_C(0xfffffc0000100000)},
    {HANDOFF_BASE_MEMORY_MAP, UINT64_C(0xfffffc0000002000)},
    {HANDOFF_BASE_FRAMEBUFFER_END, UINT64_C(0xfffffd0000300000)},
};
#define BASES (sizeof(bases) / sizeof(bases[0]))

static void every_base_is_added_to_an_offset_of_either_sign(void **state) {
    (void)state;
    static const int64_t offsets[] = {0, 8, -8, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < BASES; i++) {
        for (size_t k = 0; k < sizeof(offsets) / sizeof(offsets[0]); k++) {
            const struct handoff_access access = {.rip = 0x42,
                                                  .offset = offsets[k],
                                                  .kind = HANDOFF_READ,
                                                  .base = bases[i].base,
                                                  .width = 4,
                                                  .name = "n"};
            struct access_plan plan = plan_with(&addresses, &access, 1);
            assert_int_equal(plan.count, OWN_STEPS + 1);
            assert_int_equal(plan.steps[OWN_STEPS].access.virt,
                             bases[i].virt + (uint64_t)offsets[k]);
            assert_int_equal(plan.steps[OWN_STEPS].access.width, 4);
            assert_int_equal(plan.steps[OWN_STEPS].access.kind, ACCESS_READ);
            assert_int_equal(plan.steps[OWN_STEPS].rip, 0x42);
        }
    }
}

static void without_a_frame_buffer_its_accesses_are_skipped_and_the_others_kept(void **state) {
    (void)state;
    struct plan_addresses blind = addresses;
    struct handoff_access accesses[BASES];
    blind.framebuffer = blind.framebuffer_bytes = 0;
    for (size_t i = 0; i < BASES; i++) {
        accesses[i] = (struct handoff_access){
            .kind = HANDOFF_WRITE, .base = bases[i].base, .width = 8, .name = "n"};
    }
    struct access_plan plan = plan_with(&blind, accesses, BASES);
    assert_int_equal(plan.count, OWN_STEPS + BASES - 2);
    assert_int_equal(plan.steps[OWN_STEPS + 3].access.virt, bases[4].virt);
    assert_int_equal(plan.steps[OWN_STEPS + 4].access.virt, bases[5].virt);
}

static void fetch_happens_at_its_own_address(void **state) {
    (void)state;
    const struct handoff_access access = {.rip = 0x42,
                                          .offset = 0x100,
                                          .kind = HANDOFF_FETCH,
                                          .base = HANDOFF_BASE_ABSOLUTE,
                                          .width = 1,
                                          .name = "fetch"};
    struct access_plan plan = plan_with(&addresses, &access, 1);
    assert_int_equal(plan.steps[OWN_STEPS].rip, 0x100);
}

static void notes_with_impossible_values_are_skipped(void **state) {
    (void)state;
    static const struct handoff_access accesses[] = {
        {.kind = 4, .width = 1, .name = "kind"},
        {.kind = UINT32_MAX, .width = 1, .name = "kind"},
        {.kind = HANDOFF_READ, .base = 7, .width = 1, .name = "base"},
        {.kind = HANDOFF_READ, .base = UINT32_MAX, .width = 1, .name = "base"},
        {.kind = HANDOFF_READ, .width = 0, .name = "width"},
        {.kind = HANDOFF_READ, .width = HANDOFF_MAX_ACCESS_BYTES + 1, .name = "width"},
        {.kind = HANDOFF_READ, .width = UINT32_MAX, .name = "width"},
        {.kind = HANDOFF_READ, .width = HANDOFF_MAX_ACCESS_BYTES, .name = "good"},
    };
    struct access_plan plan =
        plan_with(&addresses, accesses, sizeof(accesses) / sizeof(accesses[0]));
    assert_int_equal(plan.count, OWN_STEPS + 1);
    assert_string_equal(plan.steps[OWN_STEPS].name, "good");
}

static void steps_that_do_not_fit_are_dropped_and_long_names_cut(void **state) {
    (void)state;
    struct handoff_access accesses[MAX_NOTES];
    for (size_t i = 0; i < MAX_NOTES; i++) {
        accesses[i] = (struct handoff_access){
            .rip = i, .kind = HANDOFF_READ, .base = HANDOFF_BASE_INFO, .width = 1};
        memset(accesses[i].name, 'x', sizeof(accesses[i].name));
    }
    struct access_plan plan = plan_with(&addresses, accesses, MAX_NOTES);
    assert_int_equal(plan.count, PLAN_MAX_STEPS);
    assert_int_equal(plan.steps[PLAN_MAX_STEPS - 1].rip, PLAN_MAX_STEPS - 1 - OWN_STEPS);
    for (size_t i = OWN_STEPS; i < plan.count; i++) {
        assert_int_equal(strlen(plan.steps[i].name), sizeof(accesses[0].name) - 1);
    }
}

static void every_step_is_a_record(void **state) {
    (void)state;
    struct recording_sink *recording = recording_sink_new();
    struct trace trace;
    const struct handoff_access access = {.rip = 0x42,
                                          .offset = 8,
                                          .kind = HANDOFF_READ,
                                          .base = HANDOFF_BASE_INFO,
                                          .width = 8,
                                          .name = "boot\n@info"};
    struct access_plan plan = plan_with(&addresses, &access, 1);
    trace_init(&trace);
    assert_true(trace_add_sink(&trace, &recording->sink));
    access_plan_trace(&plan, &trace);
    static const char *const expected[] = {
        "@c3s1 0 plan step=0 name=instruction%20after%20mov%20cr3 kind=fetch virt=1000 width=8 "
        "rip=1000",
        "@c3s1 1 plan step=1 name=first%20push%20on%20the%20new%20stack kind=write "
        "virt=fffffe0000004ff8 width=8 rip=1004",
        "@c3s1 2 plan step=2 name=kernel%20entry kind=fetch virt=ffffffff80000010 width=1 "
        "rip=ffffffff80000010",
        "@c3s1 3 plan step=3 name=boot%0a%40info kind=read virt=fffffc0000000008 width=8 rip=42",
    };
    assert_int_equal(recording_sink_records(recording), 4);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(recording_sink_body(recording, i), expected[i]);
    }
    free(recording);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(switch_alone_fetches_pushes_and_enters_the_kernel),
        cmocka_unit_test(breakpoint_comes_right_before_the_entry),
        cmocka_unit_test(pending_interrupt_comes_before_the_first_instruction),
        cmocka_unit_test(aligned_write_demands_its_width_and_a_power_of_two),
        cmocka_unit_test(every_base_is_added_to_an_offset_of_either_sign),
        cmocka_unit_test(without_a_frame_buffer_its_accesses_are_skipped_and_the_others_kept),
        cmocka_unit_test(fetch_happens_at_its_own_address),
        cmocka_unit_test(notes_with_impossible_values_are_skipped),
        cmocka_unit_test(steps_that_do_not_fit_are_dropped_and_long_names_cut),
        cmocka_unit_test(every_step_is_a_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
