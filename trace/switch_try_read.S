/* A read that may fault, before anything is known of where memory is. */
#ifdef __x86_64__
    .text
    .globl switch_try_read
    .globl switch_try_read_end
    .globl switch_try_read_nmi
    .hidden switch_try_read
    .hidden switch_try_read_end
    .hidden switch_try_read_nmi

    /*
     * In: RDI = the address, RSI = where its eight bytes go, RDX and RCX = struct switch_tables, of an IDT whose gates
     * lead to the two places below, and of the one in force. Out: EAX = 1 if it could be read. CR2 is as before. An NMI
     * that comes meanwhile gets its own handler right after.
     */
    .balign 16
    .type switch_try_read, @function
switch_try_read:
    pushfq
    cli
    movq %rsp, %r8
    movq %cr2, %r10
    xorl %r11d, %r11d
    xorl %eax, %eax
    lidt 22(%rdx)
    movq (%rdi), %r9
    incl %eax
switch_try_read_end:
    movq %r8, %rsp
    lidt 22(%rcx)
    testl %eax, %eax
    jz 1f
    movq %r9, (%rsi)
    jmp 2f
1:
    movq %r10, %cr2
2:
    popfq
    testl %r11d, %r11d
    jz 3f
    int $2
3:
    retq
switch_try_read_nmi:
    incl %r11d
    iretq
    .size switch_try_read, . - switch_try_read

#endif

    .section .note.GNU-stack, "", @progbits
