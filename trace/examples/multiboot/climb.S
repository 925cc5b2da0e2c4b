/* From Multiboot's 32-bit mode to long mode, on an identity map of 1 GiB: Intel SDM volume 3A, 10.8.5. */
    .section .boot, "ax"
    .balign 8
header2: /* Multiboot2 */
    .long 0xe85250d6, 0, header2_end - header2, -(0xe85250d6 + (header2_end - header2))
    .short 0, 0
    .long 8
header2_end:
    .balign 4
    .long 0x1badb002, 0, -0x1badb002 /* Multiboot1, for QEMU's -kernel */

    .code32
    .globl start
start:
    movl $stack_end, %esp
    movl $first_pdpt + 3, first_pml4
    movl $first_pd + 3, first_pdpt
    movl $0x83, %eax
    movl $first_pd, %edi
1:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x200000, %eax
    cmpl $0x40000083, %eax
    jne 1b
    movl %cr4, %eax
    orl $0x20, %eax /* PAE */
    movl %eax, %cr4
    movl $first_pml4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x100, %eax /* EFER.LME */
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    lgdt gdtr
    ljmp $8, $climbed
    .code64
climbed:
    movl $16, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    movl %ebx, %edi /* what the boot loader tells */
    call boot
    hlt

    .balign 8
gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdtr:
    .short gdtr - gdt - 1
    .long gdt

    .bss
    .balign 4096
first_pml4: .skip 4096
first_pdpt: .skip 4096
first_pd: .skip 4096
    .skip 32768
stack_end:
    .section .note.GNU-stack, "", @progbits
