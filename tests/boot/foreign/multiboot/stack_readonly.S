/*
 * A kernel for QEMU's -kernel whose stack is mapped read-only, and that dies of its first push: by long mode of its own.
 * With STATIC the entry stands in the file, which QEMU puts into memory as a device does; else code writes it.
 */
#define PRESENT_WRITABLE 3
#define LARGE 0x83
#define LARGE_READ_ONLY 0x81

    .text
    .long 0x1badb002, 0, -0x1badb002 /* the multiboot header: magic, flags, checksum */
    .code32
    .globl _start
_start:
    movl $stack_top, %esp
    call make_tables
    mov %cr4, %eax
    or $0x20, %eax /* PAE */
    mov %eax, %cr4
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax /* LME */
    wrmsr
    lgdt gdtr
    mov %cr0, %eax
    or $0x80010000, %eax /* PG, WP */
    mov %eax, %cr0
    ljmp $8, $long_mode

make_tables:
    movl $pdpt + PRESENT_WRITABLE, pml4
    movl $directory + PRESENT_WRITABLE, pdpt
    movl $LARGE, directory
#ifndef STATIC
    movl $0x200000 + LARGE, directory + 8
    movl $0x200000 + LARGE_READ_ONLY, directory + 8 /* the mistake */
#endif
    ret

    .code64
long_mode:
    mov $0x10, %eax
    mov %eax, %ss
    mov $0x300000, %esp
    mov $pml4, %eax
    mov %rax, %cr3
    push %rax
    hlt

    .data
    .balign 8
gdt:
    .quad 0, 0x00af9a000000ffff, 0x00cf92000000ffff
gdtr:
    .short 23
    .long gdt
    .balign 4096
directory:
#ifdef STATIC
    .quad 0, 0x200000 + LARGE_READ_ONLY
#else
    .quad 0, 0
#endif
    .balign 4096
    .bss
    .balign 4096
pml4:
    .skip 4096
pdpt:
    .skip 4096
    .skip 4096
stack_top:
