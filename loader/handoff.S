/*
 * The switch. These pages are mapped at the same address in the old and in the new tables: after `mov cr3` the CPU
 * fetches the next instruction through the new ones.
 *
 * In: RDI = struct handoff_arguments {cr3, stack_top, entry, info}.
 */
    .section .text.handoff, "ax", @progbits
    .balign 4096

    .globl handoff_first
    .hidden handoff_first
handoff_first:

    .globl handoff_jump
    .hidden handoff_jump
    .type handoff_jump, @function
handoff_jump:
    movq 0(%rdi), %rax
    movq 8(%rdi), %rdx
    movq 16(%rdi), %rcx
    movq 24(%rdi), %rdi
    /* The registers that carry nothing are zero, so that a kernel cannot come to rely on leftovers. */
    xorl %esi, %esi
    xorl %ebx, %ebx
    xorl %ebp, %ebp
    xorl %r8d, %r8d
    xorl %r9d, %r9d
    xorl %r10d, %r10d
    xorl %r11d, %r11d
    xorl %r12d, %r12d
    xorl %r13d, %r13d
    xorl %r14d, %r14d
    xorl %r15d, %r15d
    cld
    movq %rdx, %rsp

    .globl handoff_mov_cr3
    .hidden handoff_mov_cr3
handoff_mov_cr3:
    movq %rax, %cr3

    .globl handoff_after_cr3
    .hidden handoff_after_cr3
handoff_after_cr3:
    xorl %eax, %eax
    xorl %edx, %edx

    .globl handoff_stack_write
    .hidden handoff_stack_write
handoff_stack_write:
    pushq $0 /* a return address that leads nowhere: RSP % 16 == 8, as after a call */
    jmpq *%rcx

    .globl handoff_code_end
    .hidden handoff_code_end
handoff_code_end:
    .size handoff_jump, . - handoff_jump

    .balign 4096
    .globl handoff_end
    .hidden handoff_end
handoff_end:

    .section .note.GNU-stack, "", @progbits
