/*
 * A guest that changes one table entry after another and says what the CPU makes of it, in whatever mode of paging.
 *
 * It begins in 32-bit code with flat segments 8 and 16, right behind the reset (guest.py). CASES has a count, whether it fills the background itself, and then records, each with the control registers of a mode, one
 * entry to change by XOR, and one access. For each record: the entry is changed, paging goes on, the access is made (from
 * 32-bit or 64-bit code, at CPL 0 or 3), paging goes off, the entry is as before, and the answer leaves by port E9h.
 * The tables must map this guest's first 4 MiB one to one, and to user mode only the page of `user32` and what sequences use.
 */

    .set CASES, 0x120000
    .set BACK, 0x80                     /* the vector by which an access that went through comes back */
    .set KERNEL_GATES, 0x40             /* vectors that no instruction of ring 3 may use */
    .set KERNEL_GATES_END, 0x60
    .set MARK, 0x5a5a5a5a               /* what a write leaves */
    .set NOTHING, 0xffffffff

    /* A record: offsets of what the test has put there, and of the answer. */
    .set IN_CR0, 0
    .set IN_CR3, 4
    .set IN_CR4, 8
    .set IN_EFER, 12
    .set IN_ENTRY, 16
    .set IN_KIND, 20                    /* 0 read, 1 write, 2 fetch, 3: say so on COM1, and stay */
    .set IN_FLAGS, 24                   /* 1: at CPL 3, 2: from 64-bit code, 4: with RFLAGS.AC, 8: EFER is there */
    .set IN_PROBE, 28                   /* memory that is looked at afterwards; 0: none */
    .set IN_XOR, 32
    .set IN_ADDRESS, 40
    .set OUT, 48
    .set OUT_VECTOR, 48
    .set OUT_ERROR, 52
    .set OUT_CR2, 56
    .set OUT_VALUE, 64
    .set OUT_PROBE, 68
    .set OUT_RIP, 72                    /* where the CPU came from, and its stack there */
    .set OUT_RSP, 76
    .set RECORD, 80

    .set CODE32, 0x08
    .set STACK, 0x10
    .set USER_CODE32, 0x1b
    .set DATA, 0x23
    .set CODE64, 0x28
    .set USER_CODE64, 0x33
    .set TASK32, 0x38
    .set TASK64, 0x40

    .set USER, 1
    .set WIDE, 2
    .set CHECKED, 4
    .set HAS_EFER, 8
    .set EFER, 0xc0000080
    .set LONG_ACTIVE, 0x400

    .text
    .code32
    .globl start
start:
    movw $STACK, %ax
    movw %ax, %ds
    movw %ax, %ss
    movl $stack_top, %esp
    cld
    lgdt gdtr
    ljmp $CODE32, $1f
1:  movw $STACK, %ax
    movw %ax, %ss
    movw $DATA, %ax
    movw %ax, %ds
    movw %ax, %es
    movl $task32, %eax
    movl $gdt + TASK32, %edi
    call task
    movl $task64, %eax
    movl $gdt + TASK64, %edi
    call task
    call make_gates
    cmpl $0, CASES + 4
    je 2f
    movl $0x800000, %edi                /* the background, where nobody has loaded it: memory.py */
1:  movb $0xb8, (%edi)
    movl %edi, 1(%edi)
    movw $0x80cd, 5(%edi)
    addl $16, %edi
    cmpl $0x2000000, %edi
    jb 1b
2:  call tell_cpu
    movl $CASES + 8, %esi
    movl CASES, %ecx
next:
    testl %ecx, %ecx
    jz finished
    pushl %ecx
    call one
    popl %ecx
    addl $RECORD, %esi
    decl %ecx
    jmp next
finished:
    movw $0x501, %dx
    xorl %eax, %eax
    outb %al, %dx                       /* isa-debug-exit */
    hlt
    jmp finished

/* EDI: the descriptor, EAX: where the task-state segment lies, below 16 MiB. */
task:
    movl %eax, %ebx
    shll $16, %eax
    movw $103, %ax
    movl %eax, (%edi)
    shrl $16, %ebx
    orl $0x8900, %ebx
    movl %ebx, 4(%edi)
    ret

/* Maximum leaf, MAXPHYADDR, CPUID 1 EDX, CPUID 7 EBX and ECX, 80000001h EDX, the vendor's last letters. */
tell_cpu:
    xorl %eax, %eax
    cpuid
    movl %eax, cpu
    movl %ecx, cpu + 24
    movl $1, %eax
    cpuid
    movl %edx, cpu + 8
    cmpl $7, cpu
    jb 1f
    movl $7, %eax
    xorl %ecx, %ecx
    cpuid
    movl %ebx, cpu + 12
    movl %ecx, cpu + 16
1:  movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb 3f
    pushl %eax
    movl $0x80000001, %eax
    cpuid
    movl %edx, cpu + 20
    popl %eax
    cmpl $0x80000008, %eax
    jb 3f
    movl $0x80000008, %eax
    cpuid
    movzbl %al, %eax
    movl %eax, cpu + 4
3:  movl $cpu, %esi
    movl $28, %ecx
    movw $0xe9, %dx
    rep outsb
    ret

/* Gates of 8 bytes to 32-bit code, and of 16 bytes to 64-bit code. */
make_gates:
    xorl %ecx, %ecx
1:  movl %ecx, %eax
    shll $4, %eax
    addl $stubs32, %eax
    movl $idt32, %edi
    leal (%edi,%ecx,8), %edi
    movl $CODE32 << 16, %edx
    call gate
    movl %ecx, %eax
    shll $4, %eax
    addl $stubs64, %eax
    movl %ecx, %edi
    shll $4, %edi
    addl $idt64, %edi
    movl $CODE64 << 16, %edx
    call gate
    incl %ecx
    cmpl $BACK + 1, %ecx
    jb 1b
    ret

/* EDI: the gate, EAX: the handler, EDX: its selector in the upper half, ECX: the vector. Interrupt gate; DPL 3, of KERNEL_GATES 0. */
gate:
    movzwl %ax, %ebx
    orl %edx, %ebx
    movl %ebx, (%edi)
    andl $0xffff0000, %eax
    orl $0xee00, %eax
    cmpl $KERNEL_GATES, %ecx
    jb 1f
    cmpl $KERNEL_GATES_END, %ecx
    jae 1f
    andl $0xffff9fff, %eax
1:  movl %eax, 4(%edi)
    ret

/* ESI: the record. */
one:
    movl %esp, case_stack
    movl %esi, case
    movl $NOTHING, OUT_VECTOR(%esi)
    xorl %eax, %eax
    movl %eax, OUT_ERROR(%esi)
    movl %eax, OUT_CR2(%esi)
    movl %eax, OUT_CR2 + 4(%esi)
    movl %eax, OUT_VALUE(%esi)
    movl %eax, OUT_PROBE(%esi)
    movl %eax, %cr2
    movl IN_ENTRY(%esi), %edi
    movl (%edi), %eax
    movl %eax, entry_was
    movl 4(%edi), %eax
    movl %eax, entry_was + 4
    movl IN_XOR(%esi), %eax
    xorl %eax, (%edi)
    movl IN_XOR + 4(%esi), %eax
    xorl %eax, 4(%edi)
    lidt idtr32
    movb $0x89, gdt + TASK32 + 5        /* available, not busy */
    movb $0x89, gdt + TASK64 + 5
    testl $HAS_EFER, IN_FLAGS(%esi)
    jz 1f
    movl $EFER, %ecx
    movl IN_EFER(%esi), %eax
    xorl %edx, %edx
    wrmsr
1:  movl IN_CR4(%esi), %eax
    movl %eax, %cr4
    movl IN_CR3(%esi), %eax
    movl %eax, %cr3
    movl IN_CR0(%esi), %eax
    movl %eax, %cr0
    jmp 1f
1:  testl $HAS_EFER, IN_FLAGS(%esi)
    jz short_mode
    movl $EFER, %ecx
    rdmsr
    testl $LONG_ACTIVE, %eax
    jz short_mode
    lidt idtr64
    movw $TASK64, %ax
    ltr %ax
    testl $WIDE, IN_FLAGS(%esi)
    jz go32
    ljmp $CODE64, $go64
short_mode:
    movw $TASK32, %ax
    ltr %ax
go32:
    movl IN_ADDRESS(%esi), %edi
    movl IN_KIND(%esi), %ecx
    testl $USER, IN_FLAGS(%esi)
    jnz 2f
    testl $CHECKED, IN_FLAGS(%esi)
    jz 1f
    pushl $0x40002
    popfl
1:  testl %ecx, %ecx
    jz 3f
    cmpl $1, %ecx
    je 4f
    cmpl $2, %ecx
    ja stay
    jmp *%edi
3:  movl 1(%edi), %eax
    int $BACK
4:  movl $MARK, 8(%edi)
    movl $MARK, %eax
    int $BACK
stay:
    movw $0x3f8, %dx
    movb $'!', %al
    outb %al, %dx
    hlt
    jmp stay
2:  pushl $DATA
    pushl $stack_top
    pushl $2
    pushl $USER_CODE32
    pushl $user32
    iret

/* A stub of 16 bytes for each vector. 8, 10 to 14 and 17 come with an error code. */
    .macro stubs body
    .set number, 0
    .rept BACK + 1
    .balign 16
    .if (number - 8) * (number - 10) * (number - 11) * (number - 12) * (number - 13) * (number - 14) * (number - 17)
    .byte 0x6a, 0                       /* push 0 */
    .endif
    .byte 0x68                          /* push the vector */
    .long number
    jmp \body
    .set number, number + 1
    .endr
    .endm

    .balign 16
stubs32:
    stubs body32

body32:
    pushl %eax
    movw $DATA, %ax                     /* a sequence may have loaded another selector */
    movw %ax, %ds
    popl %eax
    movl case, %esi
    movl %eax, OUT_VALUE(%esi)
    popl %eax
    movl %eax, OUT_VECTOR(%esi)
    popl %eax
    movl %eax, OUT_ERROR(%esi)
    movl (%esp), %eax
    movl %eax, OUT_RIP(%esi)
    leal 12(%esp), %eax
    testb $3, 4(%esp)
    jz 1f
    movl 12(%esp), %eax                 /* from CPL 3 its stack was pushed too */
1:  movl %eax, OUT_RSP(%esi)
    movl %cr2, %eax
    movl %eax, OUT_CR2(%esi)
back32:
    movw $DATA, %ax
    movw %ax, %ds
    movw %ax, %es
    movw $STACK, %ax                    /* it is null after a delivery from CPL 3 in long mode */
    movw %ax, %ss
    movl %cr0, %eax
    andl $0x7fffffff, %eax
    movl %eax, %cr0
    jmp 1f
1:  movl $0x11, %eax
    movl %eax, %cr0
    xorl %eax, %eax
    movl %eax, %cr4
    movl case_stack, %esp
    pushl $2
    popfl
    movl case, %esi
    testl $HAS_EFER, IN_FLAGS(%esi)
    jz 1f
    movl $EFER, %ecx
    xorl %eax, %eax
    xorl %edx, %edx
    wrmsr
1:  movl IN_ENTRY(%esi), %edi
    movl entry_was, %eax
    movl %eax, (%edi)
    movl entry_was + 4, %eax
    movl %eax, 4(%edi)
    movl IN_PROBE(%esi), %edi
    testl %edi, %edi
    jz 1f
    movl (%edi), %eax
    movl %eax, OUT_PROBE(%esi)
    movl $0, (%edi)
1:  pushl %esi
    addl $OUT, %esi
    movl $RECORD - OUT, %ecx
    movw $0xe9, %dx
    rep outsb
    popl %esi
    ret

    .code64
go64:
    movq IN_ADDRESS(%rsi), %rdi
    movl IN_KIND(%rsi), %ecx
    testl $USER, IN_FLAGS(%rsi)
    jnz 2f
    testl $CHECKED, IN_FLAGS(%rsi)
    jz 1f
    pushq $0x40002
    popfq
1:  testl %ecx, %ecx
    jz 3f
    cmpl $1, %ecx
    je 4f
    jmp *%rdi
3:  movl 1(%rdi), %eax
    int $BACK
4:  movl $MARK, 8(%rdi)
    movl $MARK, %eax
    int $BACK
2:  pushq $DATA
    leaq stack_top(%rip), %rax
    pushq %rax
    pushq $2
    pushq $USER_CODE64
    leaq user64(%rip), %rax
    pushq %rax
    iretq

    .balign 16
stubs64:
    stubs body64

body64:
    movl case(%rip), %esi
    movl %eax, OUT_VALUE(%rsi)
    popq %rax
    movl %eax, OUT_VECTOR(%rsi)
    popq %rax
    movl %eax, OUT_ERROR(%rsi)
    movl (%rsp), %eax
    movl %eax, OUT_RIP(%rsi)
    movl 24(%rsp), %eax
    movl %eax, OUT_RSP(%rsi)
    movq %cr2, %rax
    movq %rax, OUT_CR2(%rsi)
    ljmp *to_back32(%rip)
    .code32

/* What CPL 3 executes has a page of its own. */
    .section .user, "ax"
    .balign 4096
user32:
    testl %ecx, %ecx
    jz 3f
    cmpl $1, %ecx
    je 4f
    jmp *%edi
3:  movl 1(%edi), %eax
    int $BACK
4:  movl $MARK, 8(%edi)
    movl $MARK, %eax
    int $BACK
    .code64
user64:
    testl %ecx, %ecx
    jz 3f
    cmpl $1, %ecx
    je 4f
    jmp *%rdi
3:  movl 1(%rdi), %eax
    int $BACK
4:  movl $MARK, 8(%rdi)
    movl $MARK, %eax
    int $BACK
    .balign 4096

    .data
    .balign 16
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff            /* CODE32 */
    .quad 0x00cf93000000ffff            /* STACK */
    .quad 0x00cffb000000ffff            /* USER_CODE32 */
    .quad 0x00cff3000000ffff            /* DATA */
    .quad 0x00af9b000000ffff            /* CODE64 */
    .quad 0x00affb000000ffff            /* USER_CODE64 */
    .quad 0                             /* TASK32 */
    .quad 0                             /* TASK64 */
    .quad 0
gdt_end:
gdtr:
    .word gdt_end - gdt - 1
    .long gdt
idtr32:
    .word 8 * (BACK + 1) - 1
    .long idt32
idtr64:
    .word 16 * (BACK + 1) - 1
    .long idt64, 0
to_back32:
    .long back32
    .word CODE32
    .balign 8
    .balign 16
task32:
    .long 0, entry_top, STACK
    .fill 100
task64:
    .long 0, entry_top, 0
    .fill 100

    .bss
    .balign 16
cpu:
    .skip 32
case:
    .skip 4
case_stack:
    .skip 4
entry_was:
    .skip 8
idt32:
    .skip 8 * (BACK + 1)
    .balign 16
idt64:
    .skip 16 * (BACK + 1)
    .balign 16
stack:
    .skip 4096
stack_top:
    .skip 4096
entry_top:                              /* where the CPU comes in from CPL 3 */
