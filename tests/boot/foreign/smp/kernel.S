/*
 * A Multiboot kernel for QEMU's -kernel and -smp 2: it goes to 64-bit code, starts the second CPU through a page below
 * 1 MiB, waits until that has said that it is there, and leaves QEMU by its isa-debug-exit.
 *
 * With X2APIC it starts it by the x2APIC's MSR, else by the APIC's memory.
 *
 * What is wrong with it is said by the build: a constant of another value, or an instruction of one of these moments:
 *   IN_BSP  the trampoline is copied, nobody is started       IN_AP  the other CPU is on its stack, its IDT loaded
 */
#define TRAMPOLINE 0x8000
#define LOCAL_APIC 0xfee00000
#define IA32_APIC_BASE 0x1b
#define X2APIC_ICR 0x830
#ifndef APIC_BASE_BITS
#define APIC_BASE_BITS 0xc00 /* EN, EXTD */
#endif
#ifndef AP_DESTINATION
#define AP_DESTINATION 1 /* bits 63:32 of the x2APIC's ICR */
#endif
#ifndef AP_VECTOR
#define AP_VECTOR 8
#endif
#ifndef AP_GDT_BASE
#define AP_GDT_BASE ap_gdt
#endif
#ifndef AP_CR4
#define AP_CR4 0x20 /* PAE */
#endif
#ifndef AP_EFER
#define AP_EFER 0x900 /* NXE, LME */
#endif
#ifndef AP_CR0
#define AP_CR0 0x80010001 /* PG, WP, PE */
#endif
#ifndef AP_ROOT
#define AP_ROOT pml4
#endif
#ifndef AP_CODE_32
#define AP_CODE_32 8
#endif
#ifndef AP_CODE_64
#define AP_CODE_64 0x18
#endif
#ifndef AP_STACK
#define AP_STACK ap_stack_top
#endif
#ifndef AP_IDT
#define AP_IDT mov $idtr, %edx; lidt (%rdx)
#endif
#ifndef POLLS
#define POLLS 3000000
#endif

    .section .multiboot, "a"
    .long 0x1badb002, 0, -0x1badb002

    .section .text, "ax"
    .code32
    .globl _start
_start:
    cli
    cld
    mov $stack_top, %esp
    lgdt gdtr
    ljmp $8, $1f
1:  mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    /* 4 GiB one to one by pages of 2 MiB; the one with the stacks is no code. */
    movl $pdpt + 3, pml4
    movl $pdpt + 3, other_pml4 + 8
    mov $4, %ecx
    mov $pdpt, %edi
    mov $directories + 3, %eax
2:  mov %eax, (%edi)
    add $0x1000, %eax
    add $8, %edi
    loop 2b
    mov $2048, %ecx
    mov $directories, %edi
    mov $0x83, %eax
3:  mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    loop 3b
    orl $0x80000000, directories + 8 * 2 + 4
    mov $0x20, %eax
    mov %eax, %cr4
    mov $pml4, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $0x900, %eax
    wrmsr
    mov $0x80010001, %eax
    mov %eax, %cr0
    ljmp $0x18, $bsp_64
    .code64
bsp_64:
    mov $idtr, %edx
    lidt (%rdx)
    mov $handler, %eax
    mov $idt, %edi
    mov $32, %ecx
4:  movw %ax, (%rdi)
    movw $0x18, 2(%rdi)
    movw $0x8e00, 4(%rdi)
    shr $16, %eax
    movw %ax, 6(%rdi)
    mov $handler, %eax
    add $16, %edi
    loop 4b
#ifndef NOT_COPIED
    mov $trampoline, %esi
    mov $TRAMPOLINE, %edi
    mov $trampoline_end - trampoline, %ecx
    rep movsb
#endif
#ifdef IN_BSP
    IN_BSP
#endif
#ifdef X2APIC
    mov $IA32_APIC_BASE, %ecx
    rdmsr
    or $APIC_BASE_BITS, %eax
    wrmsr
    mov $X2APIC_ICR, %ecx
    mov $AP_DESTINATION, %edx
    mov $0x4500, %eax /* INIT */
    wrmsr
    call short_wait
    mov $X2APIC_ICR, %ecx
    mov $AP_DESTINATION, %edx
    mov $0x4600 | AP_VECTOR, %eax
    wrmsr
#else
    mov $LOCAL_APIC, %ebx
    movl $0x1ff, 0xf0(%rbx)
    movl $0x01000000, 0x310(%rbx)
    movl $0x4500, 0x300(%rbx) /* INIT */
    call short_wait
    movl $0x01000000, 0x310(%rbx)
    movl $0x4600 | AP_VECTOR, 0x300(%rbx)
#endif
    mov $POLLS, %ecx
    mov $arrived, %edx
5:  pause
    cmpl $0, (%rdx)
    jne 6f
    dec %ecx
    jnz 5b
11: jmp 11b /* it did not come */
6:
#ifdef BSP_GOES_ON
    hlt
    jmp 6b
#endif
    mov $0x10, %eax
    out %al, $0xf4
7:  hlt
    jmp 7b
short_wait:
    mov $100000, %ecx
8:  in $0x80, %al
    dec %ecx
    cmp $99000, %ecx
    jne 8b
    ret
    .globl handler
handler: /* of an exception: what a kernel that gives up does */
    mov $0x12, %eax
    cli
9:  hlt
    jmp 9b

    .globl ap_64
ap_64:
    mov $0x10, %eax
    mov %eax, %ss
    lea arrived(%rip), %rdx
    mov (%rdx), %rax /* as 32-bit code: from an address that is no code's */
    test %rax, %rax
    jnz .
    AP_IDT
    mov $AP_STACK, %esp
    push $0
    call ap_main
    ud2
    .globl ap_main
ap_main:
#ifdef IN_AP
    IN_AP
#endif
    mov $arrived, %edx
    incl (%rdx)
10: cli
    hlt
    jmp 10b

    /* Runs at TRAMPOLINE. */
    .code16
    .globl trampoline, trampoline_end
trampoline:
    cli
    cld
    xor %ax, %ax
    mov %ax, %ds
    lgdtl TRAMPOLINE + ap_gdtr - trampoline
    mov %cr0, %eax
    or $1, %eax
    mov %eax, %cr0
    ljmpl $AP_CODE_32, $TRAMPOLINE + ap_32 - trampoline
    .code32
ap_32:
    mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $AP_CR4, %eax
    mov %eax, %cr4
    mov $AP_ROOT, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $AP_EFER, %eax
    wrmsr
    mov $AP_CR0, %eax
    mov %eax, %cr0
    ljmp $AP_CODE_64, $ap_64
    .balign 8
ap_gdtr:
    .word gdt_end - gdt - 1
    .long AP_GDT_BASE
trampoline_end:

    .section .data, "aw"
    .balign 16
gdtr:
    .word gdt_end - gdt - 1
    .long gdt
idtr:
    .word 511
    .long idt, 0
    .skip 32 /* ap_64 holds the distance to this; as 16-bit code it shall be no instruction */
arrived:
    .long 0
    .balign 16
gdt:
    .globl ap_gdt
ap_gdt:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
    .globl bsp_task, ap_task
bsp_task: /* 20h, with its TSS at 200000h */
    .quad 0x0000892000000067, 0
ap_task: /* 30h, with its TSS at 201000h */
    .quad 0x0000892010000067, 0
gdt_end:

    .section .bss, "aw", @nobits
    .balign 4096
    .globl pml4, other_pml4
pml4:        .skip 4096
other_pml4:  .skip 4096
pdpt:        .skip 4096
directories: .skip 4 * 4096
idt:         .skip 4096
    .section .stacks, "aw", @nobits
    .globl ap_stack_top
    .skip 4096
stack_top:
    .skip 4096
ap_stack_top:
    .section .note.GNU-stack, "", @progbits
