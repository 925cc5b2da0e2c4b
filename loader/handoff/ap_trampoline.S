/*
 * What another CPU runs from its start-up interrupt on, copied to the block below 1 MiB: real mode, protected mode, long
 * mode (Intel SDM volume 3A, 10.4.4, 11.9.1 and 11.8.5). It is entered with CS:IP = (vector << 8):0, and has no stack
 * until the last lines. All that it loads stands in the page of data behind it.
 */
#include "handoff/ap_layout.h"

    .set IA32_EFER, 0xc0000080
    .set IA32_PAT, 0x277
    .set CR0_PE, 1

    .section .text.ap, "ax", @progbits
    .globl ap_code
    .globl ap_code_32
    .globl ap_code_64
    .globl ap_code_lidt
    .globl ap_code_lidt_end
    .globl ap_code_end
    .hidden ap_code
    .hidden ap_code_32
    .hidden ap_code_64
    .hidden ap_code_lidt
    .hidden ap_code_lidt_end
    .hidden ap_code_end
    .code16
ap_code:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    xorl %ebx, %ebx
    movw %ax, %bx
    shll $4, %ebx /* the block's physical address */
    lgdtl AP_GDT_POINTER
    movl %cr0, %eax
    orl $CR0_PE, %eax
    movl %eax, %cr0
    ljmpl *AP_JUMP_32

    .code32
ap_code_32:
    movl $AP_SELECTOR_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl AP_CR4(%ebx), %eax
    movl %eax, %cr4
    movl AP_CR3(%ebx), %eax
    movl %eax, %cr3
    movl $IA32_EFER, %ecx
    movl AP_EFER(%ebx), %eax
    xorl %edx, %edx
    wrmsr
    movl $IA32_PAT, %ecx
    movl AP_PAT(%ebx), %eax
    movl AP_PAT + 4(%ebx), %edx
    wrmsr
    movl AP_CR0(%ebx), %eax
    movl %eax, %cr0
    ljmpl *AP_JUMP_64(%ebx)

    .code64
ap_code_64:
    movl %ebx, %ebx /* what the upper half holds by now is not defined (volume 1, 3.4.1.1) */
ap_code_lidt:
    lidt AP_IDT(%rbx)
ap_code_lidt_end:
    movq AP_STACK(%rbx), %rsp
    movq AP_ARGUMENT(%rbx), %rdi
    xorl %ebp, %ebp /* the end of the chain of frames */
    pushq $0
    jmpq *AP_ENTRY(%rbx)
ap_code_end:

    .section .note.GNU-stack, "", @progbits
