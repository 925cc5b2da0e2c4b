/*
 * The switch. This code is mapped at the same address in the old and in the new tables: after `mov cr3` the CPU
 * fetches the next instruction through the new ones.
 *
 * In: RDI = struct switch_target {cr3, rsp, entry, efer, flags, rax, rcx, rdx, rsi, rdi, r8, r9}.
 */
#ifdef __x86_64__
    .set IA32_EFER, 0xc0000080
    .set BREAKPOINT, 1
    .set INTERRUPTS, 2

    .section .text.switch, "ax", @progbits
    .globl switch_first
    .globl switch_jump
    .globl switch_mov_cr3
    .globl switch_after_cr3
    .globl switch_stack_write
    .globl switch_breakpoint
    .globl switch_code_end
    .globl switch_load_tables
    .hidden switch_first
    .hidden switch_jump
    .hidden switch_mov_cr3
    .hidden switch_after_cr3
    .hidden switch_stack_write
    .hidden switch_breakpoint
    .hidden switch_code_end
    .hidden switch_load_tables

    .balign 256 /* it is shorter than that: no page ends in it */
    .type switch_jump, @function
switch_first:
switch_jump:
    /* EFER here and not earlier: NXE must be on before tables that use bit 63, and may go off only with them. */
    movl $IA32_EFER, %ecx
    movl 24(%rdi), %eax
    movl 28(%rdi), %edx
    wrmsr
    movq 0(%rdi), %r10
    movq 8(%rdi), %rsp
    movq 16(%rdi), %r11
    movq 32(%rdi), %r12
    movq 40(%rdi), %rax
    movq 48(%rdi), %rcx
    movq 56(%rdi), %rdx
    movq 64(%rdi), %rsi
    movq 80(%rdi), %r8
    movq 88(%rdi), %r9
    movq 72(%rdi), %rdi
    /* The registers that carry nothing are zero, so that a kernel cannot come to rely on leftovers. */
    xorl %ebx, %ebx
    xorl %ebp, %ebp
    xorl %r13d, %r13d
    xorl %r14d, %r14d
    xorl %r15d, %r15d
    cld
    testb $BREAKPOINT, %r12b
    jz 1f
    movq %r11, %r13
    leaq switch_breakpoint(%rip), %r11
1:
    testb $INTERRUPTS, %r12b
    movl $0, %r12d /* leaves the flags alone */
    jz switch_mov_cr3
    sti /* takes effect after the next instruction (SDM volume 2B, STI) */
switch_mov_cr3:
    movq %r10, %cr3
switch_after_cr3:
    xorl %r10d, %r10d
switch_stack_write:
    pushq $0 /* a return address that leads nowhere: RSP % 16 == 8, as after a call */
    jmpq *%r11

    /* On the way to the entry only if asked for: the code above stays a straight line. */
switch_breakpoint:
    int3
    movq %r13, %r11
    xorl %r13d, %r13d
    jmpq *%r11
switch_code_end:
    .size switch_jump, . - switch_jump

    /* In: RDI = struct switch_tables. A far return is the one way to load CS. In assembly, for its caller may have
       a red zone. */
    .text
    .balign 16
    .type switch_load_tables, @function
switch_load_tables:
    lgdt 6(%rdi)
    popq %rdx
    pushq $0x38
    pushq %rdx
    movl $0x30, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl $0x40, %eax
    ltr %ax
    cmpq $0, 32(%rdi)
    je 1f
    lidt 22(%rdi)
1:
    lretq
    .size switch_load_tables, . - switch_load_tables

#endif

    .section .note.GNU-stack, "", @progbits
