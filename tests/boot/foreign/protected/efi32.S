/*
 * A program for 32-bit UEFI, whose firmware runs in protected mode: it makes tables of its own of pages of 4 MiB, turns
 * paging on over them, takes an exception and leaves QEMU by its isa-debug-exit. What is wrong with it is said by the
 * build: CR4_BITS and ROOT are other values, IN_TABLES is done before CR3 is loaded, IN_PAGING behind the mov to CR0.
 */
#ifndef CR4_BITS
#define CR4_BITS 0x10
#endif
#ifndef ROOT
#define ROOT _directory
#endif
#define CR0_BITS 0x80010011

    .text
    .globl _efi_main, _behind_paging, _handler
_efi_main:
    cli
    mov %cr0, %eax /* the firmware may have paging on */
    and $0x7fffffff, %eax
    mov %eax, %cr0
    mov $_directory, %edi
    mov $0x83, %eax
1:  mov %eax, (%edi)
    add $4, %edi
    add $0x400000, %eax
    jnc 1b
    mov $_handler, %eax
    mov %ax, _gate
    shr $16, %eax
    mov %ax, _gate + 6
    mov %cs, %eax
    mov %ax, _gate + 2
    lidt _idtr
#ifdef IN_TABLES
    IN_TABLES
#endif
    mov $CR4_BITS, %eax
    mov %eax, %cr4
    mov $ROOT, %eax
    mov %eax, %cr3
    mov $CR0_BITS, %eax
    mov %eax, %cr0
_behind_paging:
#ifdef IN_PAGING
    IN_PAGING
#endif
    int3
    mov $0x10, %al
    out %al, $0xf4
1:  hlt
    jmp 1b
_handler:
    iretl

    .data
    .globl _gate, _directory
    .balign 4096
_directory: .skip 4096
_idt: .skip 3 * 8
_gate: .long 0, 0x8e00
_idtr: .word 4 * 8 - 1
    .long _idt
