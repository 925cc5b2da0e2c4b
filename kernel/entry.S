/*
 * The kernel's entry point: deliberate first accesses, each declared in an ELF note, then kernel_main.
 *
 * Rule: what can fault here is declared right before the instruction, by the same macro that labels it, so
 * that note and code cannot diverge. Only the first access to each page is declared: the pushes after the first
 * one and the other fields of the boot info lie in pages that are proved by then. (The stack top is page
 * aligned; the boot info fits its first page.)
 *
 * In: RDI = boot info, RSP = top of stack 0 minus 8, IF = 0 (docs/handoff.md).
 */
#include "entry_contract.h"

    .macro note type, bytes
    .balign 4
    .long 9, \bytes, \type
    .asciz "CR3SCOPE"
    .balign 4
    .endm

    /* Declares the access that the next instruction makes. */
    .macro access kind, base, offset, width, name
.Laccess\@:
    .pushsection .note.cr3scope, "a", @note
    note ENTRY_NOTE_ACCESS, ENTRY_ACCESS_BYTES
    .quad .Laccess\@, \offset
    .long \kind, \base, \width
.Lname\@:
    .ascii "\name"
    .space ENTRY_ACCESS_NAME_BYTES - (. - .Lname\@)
    .popsection
    .endm

    .section .note.cr3scope, "a", @note
    note ENTRY_NOTE_FLAGS, 4
    .long ENTRY_FLAG_TRACES

    .section .text.entry, "ax", @progbits
    .globl entry
    .type entry, @function
entry:
    xorl %ebp, %ebp /* the end of the chain of frames */
    access ENTRY_WRITE, ENTRY_BASE_STACK, -8, 8, "stack push"
    pushq %rbp
    pushfq
    cld
    /* What a C function that uses SSE does with its frame: RSP % 16 == 8 at its first instruction makes it right. */
    access ENTRY_WRITE_ALIGNED, ENTRY_BASE_STACK, -40, 16, "stack write, 16-byte aligned"
    movaps %xmm0, -24(%rsp)

    access ENTRY_READ, ENTRY_BASE_INFO, 0, 8, "boot info magic"
    movq (%rdi), %rax
    movabsq $ENTRY_MAGIC, %rdx
    cmpq %rdx, %rax
    jne refuse
    cmpl $ENTRY_VERSION, ENTRY_INFO_VERSION(%rdi)
    jne refuse
    movq %rdi, %rbx

    leaq text_first(%rip), %rsi
    movl $text_words, %ecx
    access ENTRY_READ, ENTRY_BASE_ABSOLUTE, text_first, text_bytes, "kernel text read"
    rep lodsq
    access ENTRY_FETCH, ENTRY_BASE_ABSOLUTE, entry_last, 1, "kernel text last byte fetch"
    call entry_last

    leaq rodata_first(%rip), %rsi
    movl $rodata_words, %ecx
    access ENTRY_READ, ENTRY_BASE_ABSOLUTE, rodata_first, rodata_bytes, "kernel rodata read"
    rep lodsq

    access ENTRY_READ, ENTRY_BASE_ABSOLUTE, entry_data, 8, "kernel data read"
    movq entry_data(%rip), %rax
    notq %rax
    access ENTRY_WRITE, ENTRY_BASE_ABSOLUTE, entry_data, 8, "kernel data write"
    movq %rax, entry_data(%rip)

    /* Only here is the whole of BSS unused. RDX = address of the first word that is not zero, else 0. */
    leaq bss_first(%rip), %rdi
    movl $bss_words, %ecx
    xorl %eax, %eax
    access ENTRY_READ, ENTRY_BASE_ABSOLUTE, bss_first, bss_bytes, "kernel bss scan"
    repe scasq
    leaq -8(%rdi), %rdx
    cmoveq %rax, %rdx
    pushq %rdx
    leaq bss_first(%rip), %rdi
    movl $bss_words, %ecx
    access ENTRY_WRITE, ENTRY_BASE_ABSOLUTE, bss_first, bss_bytes, "kernel bss clear"
    rep stosq /* of zeros: RAX is 0 */

    movq ENTRY_INFO_MEMORY_MAP_VIRT(%rbx), %rsi
    access ENTRY_READ, ENTRY_BASE_MEMORY_MAP, 0, 1, "memory map first byte"
    movb (%rsi), %al
    movq ENTRY_INFO_INITRD_VIRT(%rbx), %rsi
    access ENTRY_READ, ENTRY_BASE_INITRD, 0, 1, "initrd first byte"
    movb (%rsi), %al

    movq ENTRY_INFO_FRAMEBUFFER_BYTES(%rbx), %rcx
    testq %rcx, %rcx
    jz enter_c
    movq ENTRY_INFO_FRAMEBUFFER_VIRT(%rbx), %rsi
    access ENTRY_READ, ENTRY_BASE_FRAMEBUFFER, 0, 4, "frame buffer first pixel read"
    movl (%rsi), %eax
    access ENTRY_WRITE, ENTRY_BASE_FRAMEBUFFER, 0, 4, "frame buffer first pixel write"
    movl %eax, (%rsi)
    addq %rcx, %rsi
    access ENTRY_READ, ENTRY_BASE_FRAMEBUFFER_END, -4, 4, "frame buffer last pixel read"
    movl -4(%rsi), %eax
    access ENTRY_WRITE, ENTRY_BASE_FRAMEBUFFER_END, -4, 4, "frame buffer last pixel write"
    movl %eax, -4(%rsi)

enter_c:
    movq %rbx, %rdi
    movq %rsp, %rsi /* struct entry_state: the three words pushed, and the loader's return address */
    access ENTRY_FETCH, ENTRY_BASE_ABSOLUTE, kernel_main, 1, "kernel_main fetch"
    call kernel_main
    ud2

refuse:
    movl ENTRY_INFO_VERSION(%rdi), %esi
    movq %rax, %rdi
    pushq $0 /* a call wants RSP % 16 == 0 */
    call kernel_refuse
    ud2
    .size entry, . - entry

    /* The text's last byte, so that its last page is executed early. */
    .section .last_byte, "ax", @progbits
    .globl entry_last
    .type entry_last, @function
    .size entry_last, 1
entry_last:
    ret

    .section .data
    .balign 8
    .globl entry_data
    .type entry_data, @object
    .size entry_data, 8
entry_data:
    .quad ENTRY_DATA_MARK

    .section .note.GNU-stack, "", @progbits
