/*
 * The rehearsal: one access under the new root, by the CPU itself, and back.
 *
 * What lies between rehearse_code and rehearse_code_end is copied to a page of the caller's buffer, with struct
 * switch_probe behind it and all that an exception needs (switch_rehearse.h). Two roots map that page at the same
 * address: a copy of the top table in force, and one of the new top table. So nothing is asked of the new tables, no
 * table of anybody's is changed, and no segment register, task register or stack of the machine is touched.
 */
#ifdef __x86_64__
    .set REHEARSE_EFER, 0xc0000080
    .set REHEARSE_CODE_BYTES, 1024
    .set REHEARSE_PAGE_BYTES, 4096
    .set REHEARSE_STEP_STACK, 3584
    .set REHEARSE_WRITE_PROTECT, 0x10000
    .set REHEARSE_TRAP_FLAG, 0x100
    .set REHEARSE_VECTORS, 32
    /* Of the first 32: 8, 10 to 14, 17, 21, AMD's 29 and 30 (Intel SDM volume 3A, table 7-1). */
    .set REHEARSE_WITH_ERROR_CODE, 0x60227d00
    /* Which register is loaded just now: enum rehearsed_register. */
    .set REHEARSE_CR4, 1
    .set REHEARSE_EFER_LOAD, 2
    .set REHEARSE_CR3, 3

    .text
    .globl rehearse_enter
    .globl rehearse_code
    .globl rehearse_stubs
    .globl rehearse_code_end
    .hidden rehearse_enter
    .hidden rehearse_code
    .hidden rehearse_stubs
    .hidden rehearse_code_end

    /* In: RDI = struct switch_probe, at its address in the tables in force. Interrupts stay off until it is back. */
    .balign 16
    .type rehearse_enter, @function
rehearse_enter:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushfq
    cli
    movq %cr3, %rax
    pushq %rax
    movq %rsp, 144(%rdi)
    leaq 1f(%rip), %rax
    movq %rax, 152(%rdi)
    movq 208(%rdi), %rdx
    movq 200(%rdi), %rax
    jmp 2f
1:
    popq %rax
    leaq 3f(%rip), %rdx
2: /* one for both ways: where a debugger stops at each of them, breakpoints are few */
    movq %rax, %cr3
    jmpq *%rdx
3:
    popfq
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    retq
    .size rehearse_enter, . - rehearse_enter

    .balign 16
    .type rehearse_code, @function
rehearse_code:
    .set rehearse_probe, rehearse_code + REHEARSE_CODE_BYTES
    /* The gates name the selector of now: whichever GDT is in force, it has that. */
    lidt rehearse_probe+238(%rip)
    lgdt rehearse_probe+222(%rip)
    leaq rehearse_code+REHEARSE_PAGE_BYTES(%rip), %rsp
    /* CR4.CET is refused without CR0.WP, and WP stays as long as that is on (SDM volume 3A, 2.5). */
    movq rehearse_probe+72(%rip), %rdx
    movq %rdx, %rax
    orq $REHEARSE_WRITE_PROTECT, %rax
    movq %rax, %cr0
    movb $REHEARSE_CR4, rehearse_probe+176(%rip)
    movq rehearse_probe+80(%rip), %rax
    movq %rax, %cr4
    movb $0, rehearse_probe+176(%rip)
    movq %rdx, %cr0
    movb $REHEARSE_EFER_LOAD, rehearse_probe+176(%rip)
    /* Only if it differs: where a hypervisor traps it, nobody here could answer. */
    movq rehearse_probe+88(%rip), %rax
    cmpq rehearse_probe+128(%rip), %rax
    je 9f
    movl $REHEARSE_EFER, %ecx
    movq %rax, %rdx
    shrq $32, %rdx
    wrmsr
9:
    movb $REHEARSE_CR3, rehearse_probe+176(%rip)
    movq rehearse_probe+96(%rip), %rax
    leaq rehearse_access(%rip), %rbx
rehearse_load_root:
    movq %rax, %cr3
    jmpq *%rbx

rehearse_access:
    movq $1, rehearse_probe+56(%rip)
    movq rehearse_probe(%rip), %rax
    movl rehearse_probe+8(%rip), %edx
    movq rehearse_probe+16(%rip), %rcx
    testl %edx, %edx
    jz 10f
    decl %edx
    jz 11f
    decl %edx
    jz 12f
    decl %edx
    jz 13f
    decl %edx
    jz 14f
    decl %edx
    jz 15f
    decl %edx
    jz 16f
    movups %xmm0, rehearse_probe+160(%rip)
    movaps (%rax), %xmm0
    movups rehearse_probe+160(%rip), %xmm0
    jmp rehearse_went_through
10: /* read */
    movzbl (%rax), %ecx
    movq %rcx, rehearse_probe+16(%rip)
    jmp rehearse_went_through
11: /* write what is there, whoever else may write it just now */
    lock orb $0, (%rax)
    jmp rehearse_went_through
12: /* the store of what cannot be read, and so not be written either */
    movb %cl, (%rax)
    jmp rehearse_went_through
13: /* eight bytes through the stack segment, as a push: what is there */
    movq %rax, %rbp
    movq (%rbp), %rcx
    movq %rcx, (%rbp)
    jmp rehearse_went_through
14:
    movq %rax, %rbp
    movq %rcx, (%rbp)
    jmp rehearse_went_through
15: /* there is a return */
    callq *%rax
    jmp rehearse_went_through
16: /* one instruction; RFLAGS.TF raises #DB behind it (SDM volume 3B, 19.3.1.4) */
    pushq rehearse_probe+192(%rip)
    leaq rehearse_code+REHEARSE_STEP_STACK(%rip), %rcx
    pushq %rcx
    pushfq
    orq $REHEARSE_TRAP_FLAG, (%rsp)
    pushq rehearse_probe+184(%rip)
    pushq %rax
    iretq

rehearse_went_through:
    movq $-1, rehearse_probe+24(%rip)
rehearse_back:
    movq rehearse_probe+104(%rip), %rax
    leaq rehearse_put_back(%rip), %rbx
    jmp rehearse_load_root
rehearse_put_back:
    movq rehearse_probe+128(%rip), %rax
    cmpq rehearse_probe+88(%rip), %rax
    je 9f
    movl $REHEARSE_EFER, %ecx
    movq %rax, %rdx
    shrq $32, %rdx
    wrmsr
9:
    movq rehearse_probe+112(%rip), %rdx
    movq %rdx, %rax
    orq $REHEARSE_WRITE_PROTECT, %rax
    movq %rax, %cr0
    movq rehearse_probe+120(%rip), %rax
    movq %rax, %cr4
    movq %rdx, %cr0
    movq rehearse_probe+136(%rip), %rax
    movq %rax, %cr2
    lgdt rehearse_probe+262(%rip)
    lidt rehearse_probe+278(%rip)
    movq rehearse_probe+144(%rip), %rsp
    jmpq *rehearse_probe+152(%rip)

rehearse_caught:
    cmpb $2, (%rsp)
    je 3f
    cmpb $1, (%rsp)
    jne 1f
    cmpl $6, rehearse_probe+8(%rip)
    je rehearse_went_through
    jmp 4f /* a breakpoint on data, of whoever set it */
1:
    popq rehearse_probe+24(%rip)
    movq $0, rehearse_probe+32(%rip)
    movl rehearse_probe+24(%rip), %eax
    movl $REHEARSE_WITH_ERROR_CODE, %ecx
    btl %eax, %ecx
    jnc 2f
    popq rehearse_probe+32(%rip)
2:
    popq rehearse_probe+48(%rip)
    movq %cr2, %rax
    movq %rax, rehearse_probe+40(%rip)
    jmp rehearse_back
3: /* an NMI: kept for its own handler */
    incq rehearse_probe+64(%rip)
4:
    addq $8, %rsp
    iretq

    .balign 8
rehearse_stubs:
    .set rehearse_vector, 0
    .rept REHEARSE_VECTORS
    .balign 8
    .byte 0x6a, rehearse_vector /* pushq imm8 */
    jmp rehearse_caught
    .set rehearse_vector, rehearse_vector + 1
    .endr
    .org rehearse_code + REHEARSE_CODE_BYTES /* fails if there is more */
rehearse_code_end:
    .size rehearse_code, . - rehearse_code

#endif

    .section .note.GNU-stack, "", @progbits
