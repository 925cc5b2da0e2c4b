/*
 * A boot sector for SeaBIOS that goes to protected mode and leaves QEMU by its isa-debug-exit. What is wrong with it is
 * said by the build: IN_REAL is done in real mode, GDTR names the pointer that lgdt reads, CR0_BITS what turns
 * protected mode on, CODE the code segment's descriptor, IN_PROTECTED is done in 32-bit code.
 */
#ifndef GDTR
#define GDTR gdtr
#endif
#ifndef CR0_BITS
#define CR0_BITS 1
#endif
#ifndef CODE
#define CODE 0x00cf9a000000ffff
#endif

    .code16
    .globl start
start:
    ljmp $0, $1f
1:  cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7c00, %sp
#ifdef IN_REAL
    IN_REAL
#endif
    lgdt GDTR
    mov %cr0, %eax
    or $CR0_BITS, %eax
    mov %eax, %cr0
    ljmp $8, $protected

    .code32
protected:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %ss
#ifdef IN_PROTECTED
    IN_PROTECTED
#endif
    mov $0x10, %al
    out %al, $0xf4
1:  hlt
    jmp 1b

    .balign 8
gdt: .quad 0, CODE, 0x00cf92000000ffff
gdtr: .word gdtr - gdt - 1
    .long gdt
none: .word 0
    .long 0
    .org 510
    .word 0xaa55
