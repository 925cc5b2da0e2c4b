/**
 * The entry stubs, entered as the CPU enters them: iretq works in user mode too, so a test can push
 * a frame, jump to a stub and go on behind it.
 */
#include "support/cmocka_test.h"

#include <stdbool.h>
#include <string.h>

#include "trace/exception.h"

#ifdef __x86_64__

static struct exception_frame seen;
static unsigned dispatches;
static bool direction_was_set, stack_was_aligned;

void exception_dispatch(struct exception_frame *frame) {
    uint64_t flags;
    __asm__ volatile("pushfq\n\tpopq %0" : "=r"(flags));
    direction_was_set = (flags & UINT64_C(0x400)) != 0;
    stack_was_aligned = (uint64_t)frame % 16 == 0;
    seen = *frame;
    dispatches++;
    frame->rax = ~frame->rax;
    frame->r15 = ~frame->r15;
}

static bool cpu_pushes_error_code(unsigned vector) {
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 ||
           vector == 29 || vector == 30;
}

/* Registers before and after the exception: rax rbx rcx rdx rsi rdi rbp r8..r15. */
struct registers {
    uint64_t values[15];
};

/*
 * Loads the registers, sets DF, pushes what the CPU pushes on a stack that it aligned, and enters
 * the stub. Then keeps the registers and whether RSP came back. Defined in assembly: no compiler
 * lets all fifteen be clobbered.
 */
uint64_t raise_exception(const char *stub, const struct registers *before,
                         struct registers *after_ret, uint64_t error_code, uint64_t has_error_code);
__asm__(".text\n"
        "raise_exception:\n"
        "    pushq %rbx\n"
        "    pushq %rbp\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    pushq %rdx\n"      /* after_ret */
        "    movq %rsp, %rax\n" /* the RSP that iretq must bring back */
        "    andq $-16, %rsp\n"
        "    movl %ss, %r9d\n"
        "    pushq %r9\n"
        "    pushq %rax\n"
        "    pushfq\n"
        "    movl %cs, %r9d\n"
        "    pushq %r9\n"
        "    leaq 1f(%rip), %r9\n"
        "    pushq %r9\n"
        "    testq %r8, %r8\n"
        "    jz 0f\n"
        "    pushq %rcx\n"
        "0:  movq %rdi, stub_to_enter(%rip)\n"
        "    movq %rsi, %r15\n"
        "    movq 0(%r15), %rax\n"
        "    movq 8(%r15), %rbx\n"
        "    movq 16(%r15), %rcx\n"
        "    movq 24(%r15), %rdx\n"
        "    movq 32(%r15), %rsi\n"
        "    movq 40(%r15), %rdi\n"
        "    movq 48(%r15), %rbp\n"
        "    movq 56(%r15), %r8\n"
        "    movq 64(%r15), %r9\n"
        "    movq 72(%r15), %r10\n"
        "    movq 80(%r15), %r11\n"
        "    movq 88(%r15), %r12\n"
        "    movq 96(%r15), %r13\n"
        "    movq 104(%r15), %r14\n"
        "    movq 112(%r15), %r15\n"
        "    std\n"
        "    jmp *stub_to_enter(%rip)\n"
        "1:  movq %r15, r15_after(%rip)\n"
        "    movq 0(%rsp), %r15\n"
        "    movq %rax, 0(%r15)\n"
        "    movq %rbx, 8(%r15)\n"
        "    movq %rcx, 16(%r15)\n"
        "    movq %rdx, 24(%r15)\n"
        "    movq %rsi, 32(%r15)\n"
        "    movq %rdi, 40(%r15)\n"
        "    movq %rbp, 48(%r15)\n"
        "    movq %r8, 56(%r15)\n"
        "    movq %r9, 64(%r15)\n"
        "    movq %r10, 72(%r15)\n"
        "    movq %r11, 80(%r15)\n"
        "    movq %r12, 88(%r15)\n"
        "    movq %r13, 96(%r15)\n"
        "    movq %r14, 104(%r15)\n"
        "    movq r15_after(%rip), %rax\n"
        "    movq %rax, 112(%r15)\n"
        "    movq %rsp, %rax\n"
        "    popq %rdx\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbp\n"
        "    popq %rbx\n"
        "    ret\n"
        ".local stub_to_enter\n"
        ".comm stub_to_enter, 8, 8\n"
        ".local r15_after\n"
        ".comm r15_after, 8, 8\n");

static void every_stub_hands_over_its_vector_and_error_code(void **state) {
    (void)state;
    for (unsigned vector = 0; vector < EXCEPTION_VECTORS; vector++) {
        struct registers before = {{0}};
        struct registers after;
        bool pushed = cpu_pushes_error_code(vector);
        dispatches = 0;
        raise_exception(exception_stubs[vector], &before, &after, 0xe0000 + vector, pushed);
        assert_int_equal(dispatches, 1);
        assert_int_equal(seen.vector, vector);
        assert_int_equal(seen.error_code, pushed ? 0xe0000 + vector : 0);
        assert_true(stack_was_aligned);
        assert_false(direction_was_set);
    }
}

static void registers_are_saved_by_name_and_restored_as_the_handler_left_them(void **state) {
    (void)state;
    struct registers before;
    struct registers after;
    for (unsigned i = 0; i < 15; i++) {
        before.values[i] = UINT64_C(0x1111111111111111) * (i + 1);
    }
    uint64_t rsp = raise_exception(exception_stubs[3], &before, &after, 0, 0);
    const uint64_t saved[15] = {seen.rax, seen.rbx, seen.rcx, seen.rdx, seen.rsi,
                                seen.rdi, seen.rbp, seen.r8,  seen.r9,  seen.r10,
                                seen.r11, seen.r12, seen.r13, seen.r14, seen.r15};
    assert_memory_equal(saved, before.values, sizeof(saved));
    assert_int_equal(seen.rsp, rsp);

    before.values[0] = ~before.values[0];
    before.values[14] = ~before.values[14];
    assert_memory_equal(after.values, before.values, sizeof(before.values));
}

static void stub_is_found_sixteen_bytes_behind_the_one_before(void **state) {
    (void)state;
    assert_int_equal((uint64_t)exception_stubs % 16, 0);
    assert_int_equal(sizeof(exception_stubs[0]), 16);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stub_hands_over_its_vector_and_error_code),
        cmocka_unit_test(registers_are_saved_by_name_and_restored_as_the_handler_left_them),
        cmocka_unit_test(stub_is_found_sixteen_bytes_behind_the_one_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

static void needs_x86_64(void **state) {
    (void)state;
    skip();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(needs_x86_64)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
