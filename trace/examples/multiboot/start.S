/* Multiboot's headers, and the first instructions: the library's way to long mode, where boot() is called. */
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
    pushl %ebx /* what the boot loader tells */
    pushl $boot
    pushl $4 /* levels */
    pushl $first_tables
    call cr3scope_climb
    cli /* it came back: EAX has the reason */
    hlt

    .bss
    .balign 4096
first_tables: .skip 36864 /* CR3SCOPE_CLIMB_BYTES */
    .skip 32768
stack_end:
    .section .note.GNU-stack, "", @progbits
