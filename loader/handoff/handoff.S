/*
 * The switch. These pages are mapped at the same address in the old and in the new tables: after `mov cr3` the CPU
 * fetches the next instruction through the new ones.
 *
 * In: RDI = struct handoff_arguments {cr3, stack_top, entry, info, efer, rax, rcx, flags}.
 */
    .set IA32_EFER, 0xc0000080
    .set BREAKPOINT, 1
    .set INTERRUPTS, 2

    .section .text.handoff, "ax", @progbits
    .balign 4096

    .globl handoff_first
    .hidden handoff_first
handoff_first:

    .globl handoff_jump
    .hidden handoff_jump
    .type handoff_jump, @function
handoff_jump:
    /* EFER here and not earlier: NXE must be on before tables that use bit 63, and may go off only with them. */
    movl $IA32_EFER, %ecx
    movl 32(%rdi), %eax
    movl 36(%rdi), %edx
    wrmsr
    movq 0(%rdi), %rax
    movq 8(%rdi), %rsp
    movq 16(%rdi), %r11
    movq 40(%rdi), %rsi
    movq 48(%rdi), %rcx
    movq 56(%rdi), %r8
    movq 24(%rdi), %rdi
    /* The registers that carry nothing are zero, so that a kernel cannot come to rely on leftovers. */
    xorl %edx, %edx
    xorl %ebx, %ebx
    xorl %ebp, %ebp
    xorl %r9d, %r9d
    xorl %r12d, %r12d
    xorl %r13d, %r13d
    xorl %r14d, %r14d
    xorl %r15d, %r15d
    cld
    xorl %r10d, %r10d
    testb $BREAKPOINT, %r8b
    jz 1f
    movq %r11, %r10
    leaq handoff_breakpoint(%rip), %r11
1:
    testb $INTERRUPTS, %r8b
    jz handoff_mov_cr3
    sti /* takes effect after the next instruction (SDM volume 2B, STI) */

    .globl handoff_mov_cr3
    .hidden handoff_mov_cr3
handoff_mov_cr3:
    movq %rax, %cr3

    .globl handoff_after_cr3
    .hidden handoff_after_cr3
handoff_after_cr3:
    movq %rsi, %rax
    xorl %esi, %esi
    xorl %r8d, %r8d

    .globl handoff_stack_write
    .hidden handoff_stack_write
handoff_stack_write:
    pushq $0 /* a return address that leads nowhere: RSP % 16 == 8, as after a call */
    jmpq *%r11

    /* On the way to the entry only if asked for: the code above stays a straight line. */
    .globl handoff_breakpoint
    .hidden handoff_breakpoint
handoff_breakpoint:
    int3
    movq %r10, %r11
    xorl %r10d, %r10d
    jmpq *%r11

    .globl handoff_code_end
    .hidden handoff_code_end
handoff_code_end:
    .size handoff_jump, . - handoff_jump

    .balign 4096
    .globl handoff_end
    .hidden handoff_end
handoff_end:

    .section .note.GNU-stack, "", @progbits
