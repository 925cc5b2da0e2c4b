/* The entry stubs that trace/include/trace/exception.h describes. */
#ifdef __x86_64__

    .text
    .globl exception_stubs
    .hidden exception_stubs
    .hidden exception_dispatch
    .type exception_stubs, @object

/*
 * One stub: 4 + 2 + 5 + 5 bytes at most, and 16 are its share. The error code is the CPU's for the
 * vectors that the Intel SDM volume 3A, table 7-1, marks so, and for AMD's #VC (29) and #SX (30);
 * else 0 stands in for it. endbr64: a firmware that left indirect branch tracking on must not turn
 * each exception into a #CP.
 */
    .balign 16
exception_stubs:
    .set vector, 0
    .rept 256
    .balign 16
    endbr64
    .set has_error_code, vector == 8 || (vector >= 10 && vector <= 14) || vector == 17
    .if !(has_error_code || vector == 21 || vector == 29 || vector == 30)
    pushq $0
    .endif
    .byte 0x68 /* pushq imm32: the short form would extend the sign of 80h and above */
    .long vector
    jmp exception_common
    .set vector, vector + 1
    .endr
    .size exception_stubs, . - exception_stubs

/*
 * The CPU aligned RSP to 16 before it pushed SS (SDM volume 3A, section 7.14.2); its five words, the
 * error code, the vector and the fifteen registers are 22 words, so RSP is aligned at the call, as
 * the ABI asks.
 */
    .balign 16
    .type exception_common, @function
exception_common:
    pushq %rax
    pushq %rbx
    pushq %rcx
    pushq %rdx
    pushq %rsi
    pushq %rdi
    pushq %rbp
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi
    call exception_dispatch
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rbp
    popq %rdi
    popq %rsi
    popq %rdx
    popq %rcx
    popq %rbx
    popq %rax
    addq $16, %rsp
    iretq
    .size exception_common, . - exception_common

#endif

    .section .note.GNU-stack, "", @progbits
