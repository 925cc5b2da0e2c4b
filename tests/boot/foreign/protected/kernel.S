/*
 * A Multiboot kernel for QEMU's -kernel and for GRUB (MULTIBOOT2: the second protocol) that turns paging on in 32-bit code
 * and goes to addresses HIGH above where it was loaded. MODE is PSE (pages of 4 MiB), SMALL (of 4 KiB), PAE (2 MiB and 4 KiB) or CLIMB (on to 64-bit code).
 * There it takes an exception, goes to ring 3 and comes back, and leaves QEMU by its isa-debug-exit.
 *
 * What is wrong with it is said by the build: a constant of another value, or an instruction of one of these moments:
 *   IN_TABLES  the tables are built, CR3 is not loaded        IN_PAGING  behind the mov to CR0
 *   IN_HIGH    at the kernel's entry                          IN_KERNEL  on its own stack, descriptor tables loaded
 */
#define PSE 1
#define SMALL 2
#define PAE 3
#define CLIMB 4
#define HIGH 0xc0000000

#ifndef CR4_BITS
#if MODE == PSE
#define CR4_BITS 0x10
#elif MODE == SMALL
#define CR4_BITS 0
#else
#define CR4_BITS 0x20
#endif
#endif
#ifndef EFER_BITS
#define EFER_BITS 0x100 /* LME */
#endif
#ifndef CR0_BITS
#define CR0_BITS 0x80010001 /* PG, WP, PE */
#endif
#ifndef ROOT
#if MODE == PSE || MODE == SMALL
#define ROOT directory
#elif MODE == PAE
#define ROOT pointers
#else
#define ROOT pml4
#endif
#endif
#ifndef CODE /* descriptors */
#define CODE 0x00cf9a000000ffff
#endif
#ifndef DATA
#define DATA 0x00cf92000000ffff
#endif
#ifndef CODE64
#define CODE64 0x00af9a000000ffff
#endif
#ifndef USER_CODE
#define USER_CODE 0x00cffa000000ffff
#endif
#ifndef USER_DATA
#define USER_DATA 0x00cff2000000ffff
#endif
#ifndef TSS /* where kernel.ld puts them */
#define TSS 0xc000891800000067
#endif
#ifndef FAULT_TSS
#define FAULT_TSS 0xc000891810000067
#endif
#ifndef LONG_JUMP
#define LONG_JUMP ljmp $0x18, $high_entry
#endif
#ifndef GATE /* of an exception: present, interrupt gate of this mode */
#define GATE 0x8e00
#endif
#ifndef CODE_SELECTOR
#if MODE == CLIMB
#define CODE_SELECTOR 0x18
#else
#define CODE_SELECTOR 8
#endif
#endif
#ifndef STACK0
#define STACK0 ring0_top
#endif
#ifndef STACK0_SELECTOR
#define STACK0_SELECTOR 0x10
#endif
#ifndef IDT_LIMIT
#define IDT_LIMIT idt_end - idt - 1
#endif
#ifndef HIGH_RIGHTS
#define HIGH_RIGHTS 7
#endif
#define PS 0x80

#if MODE == SMALL
#define ENTRY_SIZE 4
#else
#define ENTRY_SIZE 8
#endif

/* EDI becomes the place of the entry that maps a symbol of the kernel, where there are pages of 4 KiB. */
    .macro entry_of symbol
    mov $\symbol - HIGH, %edi
    shr $12, %edi
    imul $ENTRY_SIZE, %edi, %edi
    add $high_pages, %edi
    .endm
    .macro drop symbol /* takes it out of the tables that are in force */
    entry_of \symbol
    andl $0xfffffffe, (%edi)
#if MODE == CLIMB
    mov $\symbol, %edi
    invlpg (%rdi)
#else
    invlpg \symbol
#endif
    .endm

/*
 * A device writes 3 to a word below 4 GiB: QEMU's fw_cfg, by DMA. What it reads is its item 1, which has that value; all
 * numbers are big-endian: the item and "select, read", 4 bytes, the address. In 32-bit code without paging.
 */
    .macro by_device symbol
    mov $\symbol, %eax
    bswap %eax
    push %eax
    push $0
    push $0x04000000
    push $0x0a000100
    mov %esp, %eax
    bswap %eax
    mov $0x518, %edx
    out %eax, %dx
    add $16, %esp
    .endm

    .section .multiboot, "a"
#ifdef MULTIBOOT2
    .balign 8
1:  .long 0xe85250d6, 0, 2f - 1b, -(0xe85250d6 + 2f - 1b)
    .word 0, 0 /* the last tag */
    .long 8
2:
#else
    .long 0x1badb002, 0, -0x1badb002
#endif

    .section .boot, "ax"
    .code32
    .globl _start
_start:
    cli
    cld
    mov $boot_top, %esp
    call build_tables
    lgdt low_gdtr
    ljmp $8, $1f
1:  mov $0x10, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
#ifdef IN_TABLES
    IN_TABLES
#endif
    mov $CR4_BITS, %eax
    mov %eax, %cr4
    mov $ROOT, %eax
    mov %eax, %cr3
#if MODE == CLIMB || defined(WITH_EFER)
    mov $0xc0000080, %ecx
    rdmsr
    or $EFER_BITS, %eax
    wrmsr
#endif
    mov $CR0_BITS, %eax
    .globl set_paging, behind_paging
set_paging:
    mov %eax, %cr0
behind_paging:
#ifdef IN_PAGING
    IN_PAGING
#endif
#if MODE == CLIMB
    LONG_JUMP
#else
    mov $high_entry, %eax
    jmp *%eax
#endif

build_tables:
    mov $directory, %edi
#if MODE == PSE
    movl $PS + 3, directory
    movl $PS + HIGH_RIGHTS, directory + 768 * 4
#elif MODE == SMALL
    movl $low_pages + 3, directory
    movl $high_pages + 7, directory + 768 * 4
    mov $3, %eax
    mov $low_pages, %edi
1:  mov %eax, (%edi)
    lea HIGH_RIGHTS - 3(%eax), %edx
    mov %edx, high_pages - low_pages(%edi)
    add $4, %edi
    add $4096, %eax
    cmp $0x400003, %eax
    jne 1b
#else
    movl $pointers + 7, pml4
    movl $directory + 1, pointers
    movl $high_directory + 1, pointers + 3 * 8
#if MODE == CLIMB
    orl $6, pointers
    orl $6, pointers + 3 * 8
#endif
    movl $PS + 3, directory
    movl $high_pages + 7, high_directory
    mov $HIGH_RIGHTS, %eax
    mov $high_pages, %edi
1:  mov %eax, (%edi)
    add $8, %edi
    add $4096, %eax
    cmp $0x200000, %eax
    jb 1b
#endif
    ret

    .balign 8
    .globl low_gdtr
low_gdtr:
    .word gdt_end - gdt - 1
    .long gdt - HIGH
    .long 0x12345 /* no part of it */

    .section .tables, "aw", @nobits
    .globl directory, pointers, pml4, low_pages, high_pages, high_directory, boot_top
directory: .skip 4096
pml4: .skip 4096
pointers: .skip 4096
low_pages: .skip 4096
high_pages: .skip 4096
high_directory: .skip 4096
    .skip 4096
boot_top:

#if MODE == CLIMB
    .text
    .code64
    .globl high_entry, kernel_main, handler, done
high_entry:
#ifdef IN_HIGH
    IN_HIGH
#endif
    lea stack_top(%rip), %rsp
    call kernel_main
kernel_main:
    incl counter(%rip)
    call fill_idt
    lgdt gdtr(%rip)
    mov $0x10, %eax
    mov %eax, %ss
    mov %eax, %ds
    lidt idtr(%rip)
    mov $0x28, %eax
    ltr %ax
#ifdef IN_KERNEL
    IN_KERNEL
#endif
    int3
    mov $0x10, %al
    out %al, $0xf4
done:
    cli
    hlt
    jmp done

fill_idt:
    lea handler(%rip), %rax
    lea idt(%rip), %rdi
    lea idt_end(%rip), %rcx
1:  mov %rax, %rdx
    mov %dx, (%rdi)
    movw $CODE_SELECTOR, 2(%rdi)
    movw $GATE, 4(%rdi)
    shr $16, %rdx
    mov %dx, 6(%rdi)
    add $16, %rdi
    cmp %rcx, %rdi
    jne 1b
    ret
    .balign 4096
handler:
    iretq
#else
    .text
    .code32
    .globl high_entry, kernel_main, handler, user, system_call, done
high_entry:
#ifdef IN_HIGH
    IN_HIGH
#endif
    mov $stack_top, %esp
    call kernel_main
kernel_main:
    incl counter
    call fill_idt
    lgdt gdtr
    mov $0x10, %eax
    mov %eax, %ss
    mov %eax, %ds
    mov %eax, %es
    lidt idtr
#ifndef NO_TASK
    mov $0x28, %eax
    ltr %ax
#endif
#ifdef IN_KERNEL
    IN_KERNEL
#endif
    int3
    push $0x3b
    push $user_top
    push $2
    push $0x33
    push $user
    iretl
user:
#ifdef IN_USER
    IN_USER
#endif
    int $3
    int $0x30
    jmp user

fill_idt:
    mov $idt, %edi
1:  mov $handler, %edx
    cmp $idt + 3 * 8, %edi
    je 3f
    mov $gives_up, %edx
    cmp $idt + 0x30 * 8, %edi
    jne 3f
    mov $system_call, %edx
3:  mov %dx, (%edi)
    movw $CODE_SELECTOR, 2(%edi)
    movw $GATE | 0x6000, 4(%edi)
    shr $16, %edx
    mov %dx, 6(%edi)
    add $8, %edi
    cmp $idt_end, %edi
    jne 1b
#ifdef FAULTS_BY_TASK
    movw $0x8500, idt + 8 * 8 + 4
    movw $FAULTS_BY_TASK, idt + 8 * 8 + 2
#endif
    ret
    .balign 4096
handler:
    iretl
gives_up:
    cli
    hlt
    jmp gives_up
system_call:
    mov $0x10, %al
    out %al, $0xf4
done:
    cli
    hlt
    jmp done
    .balign 4096
    .globl last_resort
last_resort: /* the task of #DF: it leaves QEMU, too */
    mov $0x10, %al
    out %al, $0xf4
    jmp done
#endif

    .data
    .globl counter, gdt, gdtr, idt, idtr, tss, fault_tss
counter: .long 0
#if MODE == CLIMB
gdtr: .word gdt_end - gdt - 1
    .long gdt, 0
idtr: .word IDT_LIMIT
    .long idt, 0
#else
gdtr: .word gdt_end - gdt - 1
    .long gdt
idtr: .word IDT_LIMIT
    .long idt
#endif
    .balign 4096
gdt:
    .quad 0, CODE, DATA, CODE64, 0
    .quad TSS /* 28h */
#if MODE == CLIMB
    .quad 0
#else
    .quad USER_CODE, USER_DATA, FAULT_TSS
#endif
#ifdef MORE_DESCRIPTORS /* 48h */
    .quad MORE_DESCRIPTORS
#endif
gdt_end:
    .balign 8
#if MODE == CLIMB
    .section .tss, "aw"
tss: .long 0
    .long STACK0, 0
    .skip 92
#else
    .section .tss, "aw"
tss: .long 0, STACK0, STACK0_SELECTOR
    .skip 88
    .word 0, 104
    .balign 4096
fault_tss: .long 0, 0, 0, 0, 0, 0, 0
    .long ROOT, last_resort, 2, 0, 0, 0, 0, fault_top, 0, 0, 0
    .long 0x10, 8, 0x10, 0x10, 0, 0, 0, 104 << 16
#endif

    .data
    .balign 4096
idt: .skip 256 * 16
idt_end:

    .section .stack, "aw", @nobits
    .globl stack_top, ring0_top, user_top, fault_top
    .skip 4096
stack_top: .skip 4096
ring0_top: .skip 4096
user_top: .skip 4096
fault_top: .skip 4096
