"""The words that have a number in the photo stream: docs/trace-format.md lists them."""

from __future__ import annotations

# From 1 on; the kinds of records come first.
KINDS = (
    "begin section end close error config firmware cpu entry mmap image elf segment loaded map region table set dump d dump-end"
    " memory memory-end plan preflight exit call fault check summary"
    " rehearse rehearsal startup ap starting task"
).split()
WORDS = (
    *KINDS,
    *(
        "producer version next records bytes crc sink where what status inject safe_idt identity breakpoint kernel vendor revision"
        " uefi cpus when cr0 cr2 cr3 cr4 cr8 efer pat gdt_base gdt_limit idt_base idt_limit tr ldtr cs ss ds es fs gs rsp rip rflags"
        " maxphyaddr features name base size build_id text text_size file machine traces of index virt last phys filesz memsz offset"
        " flags differs nonzero role rights type caller level parent old new id levels o b pages length words step kind width align"
        " vector outcome value attempts by rax rbx rcx rdx rsi rdi rbp r8 r9 r10 r11 r12 r13 r14 r15"
        " on off warn stop handoff ok read write fetch interrupt yes no none loader safe-idt wb wt uc- uc wp wc r-x r-- rw- rwx rodata"
        " data stack guard boot-info memory-map initrd framebuffer tables recursive trampoline gdt idt tss ist code GenuineIntel"
        " AuthenticAMD full loader.efi kernel.elf total state later apic_id why serial"
    ).split(),
)  # fmt: skip
