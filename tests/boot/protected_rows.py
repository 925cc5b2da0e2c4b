"""What is wrong with each kernel of tests/boot/foreign/protected, and what must be said of it."""

from __future__ import annotations

from dataclasses import dataclass

DEVICE, BIOS = "a device", "the BIOS"
MODES = ("PSE", "SMALL", "PAE", "CLIMB")


@dataclass(frozen=True, slots=True)
class Row:
    """One mistake. ``defines``: what the build says of it. ``rule`` is the first finding's, ``entry`` the level and the
    name of what it blames. ``fault``: vector, error code and access of the fatal exception. ``wrote``: the line of kernel.S that wrote
    that entry; "" if it is that of the mistake, None if no instruction did, DEVICE if one did, and a device since. Of a boot sector BIOS."""

    name: str
    mode: str
    defines: tuple[str, ...]
    rule: str
    entry: str | None = None
    fault: tuple[int, int, str | None] | None = None
    has_file: bool = True  # the kernel's ELF file is given, too
    wrote: str | None = ""


def _tables(
    name: str, mode: str, code: str, rule: str, entry: str | None, fault: tuple[int, int, str | None], has_file: bool = True
) -> Row:
    return Row(name, mode, (f"IN_TABLES={code}",), rule, entry, fault, has_file)


def _handled_by(vector: int) -> str:
    """Have label 9 of 32-bit code take an exception."""
    return f"mov $9f, %eax; mov %ax, idt + {vector} * 8; shr $16, %eax; mov %ax, idt + {vector} * 8 + 6;"


# Of a fetch, an error code tells where NX or SMEP is on.
FETCH, FETCH_NX = (14, 0, "fetch"), (14, 0x11, "fetch")
ROWS = (
    Row("pse-off", "PSE", ("CR4_BITS=0",), "large-pages-off", "PD[0]", FETCH, wrote="movl $PS + 3, directory"),
    _tables("identity", "PSE", "movl $0, directory", "identity-missing-trampoline", "PD[0]", FETCH),
    _tables("high-half", "PSE", "movl $0, directory + 768 * 4", "code-unmapped", "PD[768]", FETCH),
    _tables("reserved", "PSE", "orl $0x200000, directory + 768 * 4", "reserved-bits", "PD[768]", (14, 8, "fetch")),
    _tables("no-ps", "PSE", "movl $3, directory", "page-size-missing", "PD[0]", FETCH),
    # The memory at 0, which is taken for a table, has the BIOS' pointers.
    _tables("no-ps-high", "PSE", "movl $7, directory + 768 * 4", "page-size-missing", "PD[768]", FETCH),
    # As a table that is read from a disk; the last store there is right.
    Row("by-device", "PSE", ("IN_TABLES=by_device directory",), "page-size-missing", "PD[0]", FETCH, wrote=DEVICE),
    Row("read-only", "PSE", ("HIGH_RIGHTS=5",), "stack-readonly", "PD[768]", (14, 3, "write"), wrote="movl $PS + HIGH_RIGHTS, directory + 768 * 4"),
    _tables("text", "SMALL", "entry_of kernel_main; movl $0, (%edi)", "code-unmapped", "PT[264]", FETCH),
    # A frame behind the RAM: TCG runs through what it reads as zeros, to the page that is not there.
    _tables("beyond-ram", "SMALL", "entry_of kernel_main; movl $0x10000007, (%edi); movl $0, 4(%edi)", "zero-sled", "PT[264]", FETCH),
    # The zeros that TCG reads there are run, and write to EAX.
    _tables("virtual-frame", "SMALL", "entry_of kernel_main; movl $kernel_main + 7, %eax; movl %eax, (%edi)", "virt-address-in-entry", "PT[264]",
            (14, 3, "write")),
    # Memory that holds other bytes than the file, while the file's are where it names them: jumps by 128 bytes each, and zeros behind
    # them, for zeros alone are millions of instructions to the page's end.
    _tables("high-off", "PSE", "addl $0x1000000, directory + 768 * 4; pusha; mov $0x1100000, %edi; mov $0x7eeb7eeb, %eax; mov $0xbc000, %ecx; "
            "rep stosl; popa", "wrong-frame", "PD[768]", FETCH),
    _tables("data", "SMALL", "entry_of counter; movl $0, (%edi)", "code-unmapped", "PT[267]", (14, 0, "read")),
    _tables("data-read-only", "SMALL", "entry_of counter; andl $~2, (%edi)", "access-fault", "PT[267]", (14, 3, "write")),
    _tables("stack", "SMALL", "entry_of stack_top-1; movl $0, (%edi)", "stack-unmapped", "PT[386]", (14, 2, "write"), False),
    _tables("stack-read-only", "SMALL", "entry_of stack_top-1; andl $~2, (%edi)", "stack-readonly", "PT[386]", (14, 3, "write")),
    _tables("directory", "SMALL", "movl $0, directory + 768 * 4", "code-unmapped", "PD[768]", FETCH),
    _tables("gdt", "SMALL", "entry_of gdt; movl $0, (%edi)", "gdt-unmapped", "PT[268]", (14, 0, "read"), False),
    Row("idt", "SMALL", ("IN_KERNEL=drop idt",), "idt-unmapped", "PT[269]", None),
    # Code that writes a gate: delivery only reads them.
    Row("idt-written", "SMALL", ("IN_KERNEL=entry_of idt; andl $~2, (%edi); invlpg idt; movl $0, idt",), "access-fault", "PT[269]",
        (14, 3, "write")),
    Row("handler", "SMALL", ("IN_KERNEL=drop handler",), "handler-unmapped", "PT[265]", None),
    Row("tss", "SMALL", ("IN_KERNEL=drop tss",), "gdt-unmapped", "PT[384]", None),
    Row("user", "SMALL", ("HIGH_RIGHTS=3",), "access-fault", "PT[264]", (14, 5, "fetch"), wrote="mov %edx, high_pages - low_pages(%edi)"),
    _tables("user-table", "SMALL", "andl $~4, directory + 768 * 4", "access-fault", "PD[768]", (14, 5, "fetch")),
    Row("gate-absent", "SMALL", ("GATE=0x0e00",), "idt-gate-bad"),
    Row("gate-type", "SMALL", ("GATE=0x8c00",), "idt-gate-bad"),
    Row("gate-data", "SMALL", ("CODE_SELECTOR=0x10",), "selector-mismatch"),
    Row("gate-outside", "PSE", ("CODE_SELECTOR=0x88",), "selector-mismatch"),
    Row("idt-short", "PAE", ("IDT_LIMIT=7",), "idt-gate-bad"),
    Row("no-idt", "PSE", ("IN_HIGH=ud2",), "instruction-refused"),
    # A selector of which the GDT that is in use knows nothing is no matter of lgdt.
    Row("selector", "SMALL", ("IN_KERNEL=mov $0x88, %eax; mov %eax, %ds",), "instruction-refused", None, (13, 0x88, None)),
    Row("selector-jump", "PSE", ("IN_KERNEL=ljmp $0x88, $1f; 1: nop",), "instruction-refused", None, (13, 0x88, None)),
    Row("frame-code", "SMALL", (f"IN_KERNEL={_handled_by(14)} mov 0xd0000000, %eax; 9: iretl",), "iret-frame"),
    Row("frame-push", "PAE", (f"IN_KERNEL={_handled_by(6)} ud2; 9: push %ebx; iretl",), "iret-frame"),
    Row("frame-short", "PSE", (f"IN_KERNEL={_handled_by(6)} ud2; 9: iretw",), "iret-frame"),
    Row("frame-user", "SMALL", (f"IN_KERNEL={_handled_by(14)} jmp 8f; 9: iretl; 8: nop", "IN_USER=mov 0xd0000000, %eax"),
        "iret-frame"),
    Row("no-stack0", "SMALL", ("STACK0=0",), "ring0-stack-missing"),
    Row("null-stack0", "PAE", ("STACK0_SELECTOR=0",), "ring0-stack-missing"),
    Row("user-stack0", "PSE", ("STACK0_SELECTOR=0x3b",), "ring0-stack-missing"),
    Row("task-outside", "PSE", ("FAULTS_BY_TASK=0x88", "IN_KERNEL=mov $0xd0000000, %esp; push %eax"), "stack-unmapped"),
    Row("task-busy", "PSE", ("FAULTS_BY_TASK=0x40", "FAULT_TSS=0xc0008b1810000067", "IN_KERNEL=int $8"), "idt-gate-bad"),
    Row("root-virtual", "SMALL", ("ROOT=directory + HIGH",), "bad-root", None, FETCH),
    Row("pae-off", "PAE", ("CR4_BITS=0x10",), "tables-of-other-mode", None, FETCH),
    _tables("pae-pointer", "PAE", "movl $0, pointers + 24", "code-unmapped", "PDPT[3]", FETCH),
    _tables("pae-identity", "PAE", "movl $0, pointers", "identity-missing-trampoline", "PDPT[0]", FETCH),
    _tables("pae-reserved", "PAE", "orl $0x80000000, pointers + 28", "reserved-bits", "PDPT[3]", (14, 8, "fetch")),
    _tables("pae-nxe", "PAE", "entry_of kernel_main; orl $0x80000000, 4(%edi)", "nx-without-nxe", "PT[264]", (14, 8, "fetch")),
    # A PDPTE has no R/W, TCG takes it: nor is this a PML4.
    Row("pae-rights", "PAE", ("IN_TABLES=orl $2, pointers; orl $2, pointers + 24", "IN_KERNEL=mov %eax, 0xd0000000"),
        "access-fault", "PD[128]", (14, 2, "write"), wrote=None),
    Row("pae-nx", "PAE", ("WITH_EFER", "EFER_BITS=0x800", "IN_TABLES=entry_of kernel_main; orl $0x80000000, 4(%edi)"),
        "nx-leaf-code", "PT[264]", FETCH_NX),
    _tables("pae-no-ps", "PAE", "andl $~0x80, directory", "page-size-missing", "PD[0]", FETCH),
    _tables("pae-stack", "PAE", "entry_of stack_top-1; movl $0, (%edi)", "stack-unmapped", "PT[386]", (14, 2, "write"), False),
    Row("long-no-pae", "CLIMB", ("CR4_BITS=0",), "long-mode-off"),
    Row("long-no-lme", "CLIMB", ("EFER_BITS=0",), "long-mode-off"),
    Row("long-pae-cleared", "CLIMB", ("IN_KERNEL=mov %cr4, %rax; and $0xffffffdf, %eax; mov %rax, %cr4; nop",), "long-mode-off"),
    Row("long-directory", "CLIMB", ("ROOT=directory",), "tables-of-other-mode"),
    Row("long-no-jump", "CLIMB", ("LONG_JUMP=mov $high_entry, %eax; jmp *%eax",), "compatibility-mode"),
    Row("long-jump-32", "CLIMB", ("LONG_JUMP=ljmp $8, $high_entry",), "compatibility-mode"),
    Row("long-jump-data", "CLIMB", ("LONG_JUMP=ljmp $0x10, $high_entry",), "instruction-refused", None, (13, 0x10, None)),
    _tables("long-identity", "CLIMB", "movl $0, directory", "identity-missing-trampoline", "PD[0]", FETCH),
    _tables("long-high", "CLIMB", "movl $0, pointers + 24", "code-unmapped", "PDPT[3]", FETCH),
    _tables("long-data", "CLIMB", "entry_of counter; andl $~2, (%edi)", "access-fault", None, (14, 3, "write")),
    Row("long-pointer", "CLIMB", ("IN_KERNEL=mov $low_gdtr, %edi; lgdt (%rdi); mov $0x10, %eax; mov %eax, %ss",), "table-pointer-short"),
    Row("long-selector", "CLIMB", ("GATE=0x0e00", "IN_KERNEL=mov $0x88, %eax; mov %eax, %ds"), "instruction-refused"),
    Row("long-frame", "CLIMB", ("IN_KERNEL=lea 9f(%rip), %rax; mov %ax, idt+6*16(%rip); ud2; 9: iretl",), "iret-frame"),
    Row("long-idt", "CLIMB", ("IN_KERNEL=drop idt",), "idt-unmapped"),
)
SECTORS = (
    Row("real-mode", "", ("IN_REAL=lidtl none; int3",), "died-in-real-mode"),
    Row("wrong-gdt", "", ("GDTR=0x7000",), "gdt-not-loaded"),
    Row("no-gdt", "", ("GDTR=none",), "gdt-not-loaded"),
    Row("paging-alone", "", ("CR0_BITS=0x80000000",), "paging-without-pe"),
    # The sector as the BIOS has read it from the disk, word by word; and what the sector itself has changed.
    Row("code-is-data", "", ("CODE=0x00cf92000000ffff",), "instruction-refused", wrote=BIOS),
    Row("code-absent", "", ("CODE=0x00cf1a000000ffff",), "instruction-refused", wrote=BIOS),
    Row("protected", "", ("IN_PROTECTED=ud2",), "instruction-refused", wrote=BIOS),
    Row("code-made-data", "", ("IN_REAL=movb $0x92, gdt + 13",), "instruction-refused", wrote="IN_REAL"),
)
