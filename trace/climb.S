/*
 * The way up for kernels that begin in 32-bit code (Multiboot): to long mode, on an identity map of the first 4 GiB
 * (Intel SDM volume 3A, 10.8.5). Position independent; include/trace/climb.h tells what it takes.
 *
 * Of the memory, from its first whole page: PML5, PML4, PDPT, four PDs, and a page with the GDT.
 */
#if defined(__x86_64__) || defined(__i386__)
    .set CLIMB_PAGES, 8
    .set CLIMB_PML4, 0x1000
    .set CLIMB_PDPT, 0x2000
    .set CLIMB_PDS, 0x3000
    .set CLIMB_GDT, 0x7000
    .set CLIMB_GDT_POINTER, 0x7020
    .set CLIMB_TABLE, 3
    .set CLIMB_LARGE, 0x83
    .set CLIMB_EFER, 0xc0000080
    .set CLIMB_LME, 0x100
    .set CLIMB_PAE, 0x20
    .set CLIMB_LA57, 0x1000
    .set CLIMB_PAGING, 0x80000000

    .text
    .globl cr3scope_climb
    .balign 16
    .code32
    .type cr3scope_climb, @function
cr3scope_climb:
    pushl %ebp
    pushl %ebx
    pushl %esi
    pushl %edi
    call climb_here
climb_here:
    popl %ebp
    movl 24(%esp), %esi /* levels */

    leal climb_is_paging-climb_here(%ebp), %edi
    movl %cr0, %eax
    testl %eax, %eax
    js climb_refused
    leal climb_no_levels-climb_here(%ebp), %edi
    leal -4(%esi), %eax
    cmpl $1, %eax
    ja climb_refused
    leal climb_no_long_mode-climb_here(%ebp), %edi
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb climb_refused
    movl $0x80000001, %eax
    cpuid
    btl $29, %edx
    jnc climb_refused
    cmpl $4, %esi
    je 1f
    leal climb_no_la57-climb_here(%ebp), %edi
    xorl %eax, %eax
    cpuid
    cmpl $7, %eax
    jb climb_refused
    movl $7, %eax
    xorl %ecx, %ecx
    cpuid
    btl $16, %ecx
    jnc climb_refused
1:
    cld
    movl 20(%esp), %ebx
    addl $0xfff, %ebx
    andl $0xfffff000, %ebx
    movl %ebx, %edi
    movl $CLIMB_PAGES * 1024, %ecx
    xorl %eax, %eax
    rep stosl
    leal CLIMB_PML4+CLIMB_TABLE(%ebx), %eax
    movl %eax, (%ebx)
    leal CLIMB_PDPT+CLIMB_TABLE(%ebx), %eax
    movl %eax, CLIMB_PML4(%ebx)
    leal CLIMB_PDS+CLIMB_TABLE(%ebx), %eax
    movl %eax, CLIMB_PDPT(%ebx)
    addl $0x1000, %eax
    movl %eax, CLIMB_PDPT+8(%ebx)
    addl $0x1000, %eax
    movl %eax, CLIMB_PDPT+16(%ebx)
    addl $0x1000, %eax
    movl %eax, CLIMB_PDPT+24(%ebx)
    leal CLIMB_PDS(%ebx), %edi
    movl $CLIMB_LARGE, %eax
    movl $2048, %ecx
2:
    movl %eax, (%edi)
    addl $8, %edi
    addl $0x200000, %eax
    decl %ecx
    jnz 2b

    /* Flat code with L, and flat data (SDM volume 3A, 3.4.5). */
    movl $0x0000ffff, CLIMB_GDT+8(%ebx)
    movl $0x00af9b00, CLIMB_GDT+12(%ebx)
    movl $0x0000ffff, CLIMB_GDT+16(%ebx)
    movl $0x00cf9300, CLIMB_GDT+20(%ebx)
    movw $23, CLIMB_GDT_POINTER(%ebx)
    leal CLIMB_GDT(%ebx), %eax
    movl %eax, CLIMB_GDT_POINTER+2(%ebx)

    movl %cr4, %eax
    orl $CLIMB_PAE, %eax
    movl %ebx, %ecx
    cmpl $5, %esi
    jne 3f
    orl $CLIMB_LA57, %eax
    jmp 4f
3:
    andl $~CLIMB_LA57, %eax
    addl $CLIMB_PML4, %ecx
4:
    movl %eax, %cr4
    movl %ecx, %cr3
    movl $CLIMB_EFER, %ecx
    rdmsr
    orl $CLIMB_LME, %eax
    wrmsr
    movl 28(%esp), %esi
    movl 32(%esp), %edi
    lgdt CLIMB_GDT_POINTER(%ebx)
    movl %cr0, %eax
    orl $CLIMB_PAGING, %eax
    movl %eax, %cr0
    pushl $8
    leal climb_arrived-climb_here(%ebp), %eax
    pushl %eax
    lretl

climb_refused:
    movl %edi, %eax
    popl %edi
    popl %esi
    popl %ebx
    popl %ebp
    ret

    .code64
climb_arrived:
    movl $16, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    /* Upper halves are undefined after the way up (SDM volume 1, 3.4.1.1). */
    movl %esp, %esp
    movl %esi, %esi
    movl %edi, %edi
    movl %edi, %ecx
    xorl %ebp, %ebp
    andq $-16, %rsp
    subq $32, %rsp /* the callee's, by Microsoft's convention */
    callq *%rsi
5:
    cli
    hlt
    jmp 5b
    .size cr3scope_climb, . - cr3scope_climb

climb_is_paging:
    .asciz "cr3scope_climb: paging is on already: it takes 32-bit code without"
climb_no_levels:
    .asciz "cr3scope_climb: 4 levels or 5, no other number"
climb_no_long_mode:
    .asciz "cr3scope_climb: this CPU has no long mode"
climb_no_la57:
    .asciz "cr3scope_climb: this CPU has no 5 levels (LA57)"
    .balign 16

#endif

    .section .note.GNU-stack, "", @progbits
