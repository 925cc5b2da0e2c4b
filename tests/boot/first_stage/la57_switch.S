/*
 * LA57 can be changed only with paging off, so only outside 64-bit mode (Intel SDM volume 3A, 5.1.1): down to 32-bit
 * protected mode, CR4.LA57 the other way, CR3 = a root for it, and back. Everything here must lie below 4 GiB.
 *
 * In: RDI = physical address of the root, a PML5 or PML4. Interrupts must be off.
 */
    .section .text.la57, "ax", @progbits
    .globl la57_switch
    .hidden la57_switch
    .type la57_switch, @function
la57_switch:
    pushq %rbx
    pushq %rbp
    movq %rdi, %rsi
    sgdt saved_gdtr(%rip)
    movw %cs, saved_cs(%rip)
    movw %ss, saved_ss(%rip)
    leaq gdt(%rip), %rax
    movq %rax, gdtr_base(%rip)
    lgdt gdtr(%rip)
    movq %rsp, %rbx
    leaq back64(%rip), %rbp
    /* To the 32-bit segment: selector 8. */
    leaq down32(%rip), %rax
    pushq $8
    pushq %rax
    lretq

    .code32
down32:
    movl $0x18, %eax
    movl %eax, %ds
    movl %eax, %ss
    movl %cr0, %eax
    andl $0x7fffffff, %eax
    movl %eax, %cr0
    movl %cr4, %eax
    xorl $0x1000, %eax
    movl %eax, %cr4
    movl %esi, %cr3
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    /* Paging is on with EFER.LME set: compatibility mode. To the 64-bit segment: selector 10h. */
    movl %ebx, %esp
    pushl $0x10
    pushl %ebp
    lretl

    .code64
back64:
    movq %rbx, %rsp
    lgdt saved_gdtr(%rip)
    movzwl saved_ss(%rip), %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    movzwl saved_cs(%rip), %eax
    pushq %rax
    leaq done(%rip), %rax
    pushq %rax
    lretq
done:
    popq %rbp
    popq %rbx
    ret
    .size la57_switch, . - la57_switch

    .section .data
    .balign 16
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff /* 08h: 32-bit code */
    .quad 0x00af9b000000ffff /* 10h: 64-bit code */
    .quad 0x00cf93000000ffff /* 18h: data */
gdtr:
    .word 31
gdtr_base:
    .quad 0
saved_gdtr:
    .word 0
    .quad 0
saved_cs:
    .word 0
saved_ss:
    .word 0

    .section .note.GNU-stack, "", @progbits
