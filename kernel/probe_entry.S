/*
 * The probing instructions. Each routine leaves through probe_resume: by a jump if nothing happened, through the
 * exception's frame if it faulted. Whatever the probe executed, RSP and the callee-saved registers come back.
 */
    .section .bss
    .balign 8
saved_rsp:
    .skip 8

    .text
/* void probe_run(uint64_t virt, uint8_t value, const char *routine) */
    .globl probe_run
    .type probe_run, @function
probe_run:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, saved_rsp(%rip)
    jmpq *%rdx

    .globl probe_read_instruction
probe_read_instruction:
    movb (%rdi), %al
    jmp probe_resume

    .globl probe_write_instruction
probe_write_instruction:
    movb %sil, (%rdi)
    jmp probe_resume

    .globl probe_push_instruction
probe_push_routine:
    .globl probe_push_routine
    movq %rdi, %rsp
probe_push_instruction:
    pushq $0
    jmp probe_resume

/* All other registers are zero, so that most of what could be executed by mistake faults on address 0. */
    .globl probe_fetch_routine
probe_fetch_routine:
    xorl %eax, %eax
    xorl %ebx, %ebx
    xorl %ecx, %ecx
    xorl %edx, %edx
    xorl %esi, %esi
    xorl %ebp, %ebp
    xorl %r8d, %r8d
    xorl %r9d, %r9d
    xorl %r10d, %r10d
    xorl %r11d, %r11d
    callq *%rdi

    .globl probe_resume
probe_resume:
    cld
    movq saved_rsp(%rip), %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    retq
    .size probe_run, . - probe_run

    .section .note.GNU-stack, "", @progbits
