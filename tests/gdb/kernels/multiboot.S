/*
 * A kernel for QEMU's -kernel, with its own GDT and IDT: to long mode by 32-bit code, then two switches.
 * The first is made in compatibility mode. What follows the second one is chosen by CASE_...:
 *   HEALTHY          halts
 *   NO_IDT           a loop, then a write to what is not mapped; the IDT is empty
 *   RESETS_IN_LOOP   the same within the loop
 *   LATE_DIVIDE      a loop, then a division by zero; each vector has its handler
 *   SHARED_HANDLER   all vectors have one handler, #PF's gate is not present: a read becomes #DF
 *   BAD_SELECTOR     loads DS with a selector outside the GDT
 *   LATE_GATE        gives #UD another handler, the last one's, and raises it
 *   LONG_STORE       rep stosq from what is mapped into what is not
 */
#define PRESENT_WRITABLE 3
#define LARGE 0x83
#define PAGE 4096
#define VECTORS 32
#define UNMAPPED 0x40000000
#define HANDLER_BYTES 4 /* one handler: hlt, and a jump back to it */

    .text
    .long 0x1badb002, 0, -0x1badb002 /* the multiboot header: magic, flags, checksum */
    .code32
    .globl _start
_start:
    mov $stack_top, %esp
    mov $pml4, %edi
    movl $pdpt + PRESENT_WRITABLE, pml4
    movl $directory + PRESENT_WRITABLE, pdpt
    movl $LARGE, directory
    movl $0x200000 + LARGE, directory + 8
    mov %cr4, %eax
    or $0x20, %eax /* PAE */
    mov %eax, %cr4
    mov %edi, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $0x900, %eax /* LME, NXE */
    wrmsr
    mov %cr0, %eax
    or $0x80010000, %eax /* PG, WP */
    mov %eax, %cr0
    .globl compatibility_switch
compatibility_switch:
    mov %edi, %cr3
    push %edx
    inc %eax
    dec %eax
    lgdt gdtr
    ljmp $8, $long_mode

    .code64
long_mode:
    mov $0x10, %eax
    mov %eax, %ss
    lea handlers(%rip), %rsi
    lea idt(%rip), %rdi
    mov $VECTORS, %ecx
fill:
    mov %esi, %eax
    mov %ax, (%rdi)
    movw $8, 2(%rdi)
    movw $0x8e00, 4(%rdi)
    shr $16, %eax
    mov %ax, 6(%rdi)
    add $16, %rdi
#ifndef CASE_SHARED_HANDLER
    add $HANDLER_BYTES, %rsi
#endif
    dec %ecx
    jnz fill
#ifdef CASE_SHARED_HANDLER
    movb $0x0e, idt + 14 * 16 + 5 /* present no more */
#endif
#if !defined(CASE_NO_IDT) && !defined(CASE_RESETS_IN_LOOP)
    lidt idtr
#endif
    mov $pml4, %r12d
    .globl last_switch
last_switch:
    mov %r12, %cr3
    mov $20, %ecx
#ifdef CASE_HEALTHY
    jmp halt
#endif
#ifdef CASE_SHARED_HANDLER
    mov UNMAPPED, %rax
#endif
#ifdef CASE_LATE_GATE
    mov $handlers + (VECTORS - 1) * HANDLER_BYTES, %eax
    mov %ax, idt + 6 * 16
    .globl raise
raise:
    ud2
#endif
#ifdef CASE_BAD_SELECTOR
    mov $0x78, %eax
    mov %eax, %ds
#endif
#ifdef CASE_LONG_STORE
    mov $0x3ff000, %edi
    mov $1024, %ecx
    rep stosq
#endif
loop:
#ifdef CASE_RESETS_IN_LOOP
    cmp $10, %ecx
    jne go_on
    mov %rax, UNMAPPED
go_on:
#endif
    dec %ecx
    bsf %ecx, %esi /* a jump by its flags is not followed ahead */
    jnz loop
#ifdef CASE_NO_IDT
    mov %rax, UNMAPPED
#endif
    xor %edx, %edx
    div %ecx
    .globl halt
halt:
    hlt
    jmp halt

    .balign 16
    .globl handlers
handlers:
    .rept VECTORS
    hlt
    jmp . - 1
    .balign HANDLER_BYTES
    .endr

    .balign 8
gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdtr:
    .word gdtr - gdt - 1
    .long gdt, 0
idtr:
    .word VECTORS * 16 - 1
    .quad idt

    .bss
    .balign PAGE
pml4:
    .skip PAGE
pdpt:
    .skip PAGE
directory:
    .skip PAGE
idt:
    .skip VECTORS * 16
    .skip PAGE
stack_top:
