"""Writes what happened as QEMU writes it, in the forms of its versions (its target/i386: seg_helper, excp_helper, cpu-dump)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from analyze.logs.cpu import EXCEPTION, INT, PF, Cpu, Died, Happening, Mode


@dataclass(frozen=True)
class Version:
    """``narrow``: qemu-system-i386. ``services``: `-d int` tells of interrupts before their record. ``late_dump``: a reset
    dumps the CPU as it is after it."""

    name: str
    eax: str = "env->regs[R_EAX]"
    doubles_gates: bool = False
    efer: bool = True
    services: bool = True
    late_dump: bool = False
    narrow: bool = False


VERSIONS = (
    Version("0.9", "EAX", doubles_gates=True, efer=False, services=False),
    Version("2.x", "EAX", doubles_gates=True, services=False),
    Version("5.x", doubles_gates=True, services=False),
    Version("7.2", doubles_gates=True),
    Version("10.0"),
    Version("10.0 i386", narrow=True),
    Version("7.2 i386", "EAX", doubles_gates=True, narrow=True),
    Version("11.1", late_dump=True),
)


@dataclass(frozen=True)
class Reset:
    """The machine is reset, or QEMU starts: each CPU is dumped, ``twice`` at the start. Empty before it ran."""

    cpus: tuple[Cpu, ...]
    count: int
    boot: int = 0


@dataclass(frozen=True)
class Noise:
    """Lines that tell of no event."""

    text: str
    boot: int = 0


@dataclass(frozen=True)
class Smm:
    """System management mode was entered, and left."""

    cpu: Cpu
    boot: int = 0


@dataclass(frozen=True)
class Piece:
    """What is written without a break; ``what`` it tells of, and where its first line ends that a cut leaves whole."""

    text: str
    what: Happening | Died | Reset | Noise | Smm


def dump(cpu: Cpu, version: Version, has_fpu: bool = False) -> str:
    """Return a register dump."""
    is_wide, a, is_long = cpu.is_long, 0x1234_5000, cpu.is_long
    wide = (lambda value: f"{value:016x}") if is_wide else (lambda value: f"{value & 0xFFFF_FFFF:08x}")
    lines = []
    if is_wide:
        lines += [f"RAX={wide(a)} RBX={wide(1)} RCX={wide(0)} RDX={wide(0x3F8)}",
                  f"RSI={wide(0)} RDI={wide(7)} RBP={wide(cpu.rsp + 16 & (1 << 64) - 1)} RSP={wide(cpu.rsp)}",
                  *(" ".join(f"R{n:<2d}={wide(n)}" for n in row) for row in (range(8, 12), range(12, 16)))]  # fmt: skip
        head = f"RIP={wide(cpu.rip)} RFL={cpu.flags:08x}"
    else:
        lines += [f"EAX={wide(a)} EBX={wide(1)} ECX={wide(0)} EDX={wide(0x3F8)}",
                  f"ESI={wide(0)} EDI={wide(7)} EBP={wide(cpu.rsp + 16)} ESP={wide(cpu.rsp)}"]  # fmt: skip
        head = f"EIP={wide(cpu.rip)} EFL={cpu.flags:08x}"
    lines.append(f"{head} [-------] CPL={cpu.cpl} II=0 A20=1 SMM={int(cpu.smm)} HLT={int(cpu.halted)}")
    code, data = selectors(cpu)
    if cpu.is_real:
        names = (("ES", 0), ("CS", code), ("SS", 0), ("DS", 0), ("FS", 0), ("GS", 0))
        lines += [f"{name} ={value:04x} {value << 4:08x} 0000ffff 00009300" for name, value in names]
        lines += ["LDT=0000 00000000 0000ffff 00008200", "TR =0000 00000000 0000ffff 00008b00"]
    else:
        bits = "CS64" if is_long else "CS32"
        flags = "00af9a00" if is_long else "00cf9a00"
        for name in ("ES", "CS", "SS", "DS", "FS", "GS"):
            if name == "CS":
                lines.append(f"CS ={code:04x} {wide(cpu.base)} ffffffff {flags} DPL={cpu.cpl} {bits} [-R-]")
            else:
                lines.append(f"{name} ={data:04x} {wide(0)} ffffffff 00cf9300 DPL={cpu.cpl} DS   [-WA]")
        selector, base, limit = cpu.task
        lines.append(f"LDT=0000 {wide(0)} 0000ffff 00008200 DPL=0 LDT")
        lines.append(f"TR ={selector:04x} {wide(base)} {limit:08x} 00008b00 DPL=0 TSS{64 if is_long else 32}-busy")
    lines.append(f"GDT=     {wide(cpu.gdt[0])} {cpu.gdt[1]:08x}")
    lines.append(f"IDT=     {wide(cpu.idt[0])} {cpu.idt[1]:08x}")
    lines.append(f"CR0={cpu.cr0:08x} CR2={wide(cpu.cr2)} CR3={wide(0 if cpu.is_real else cpu.cr3)} CR4={cpu.cr4:08x}")
    digits = 8 if version.narrow else 16
    lines.append("".join(f"DR{n}={0:0{digits}x} " for n in range(4)))
    lines.append(f"DR6={0xFFFF0FF0:0{digits}x} DR7={0x400:0{digits}x}")
    lines.append(f"CCS={0:0{digits}x} CCD={4:0{digits}x} CCO=EFLAGS")
    if version.efer:
        lines.append(f"EFER={0 if cpu.is_real else cpu.efer:016x}")
    if has_fpu:
        lines += ["FCW=037f FSW=0000 [ST=0] FTW=00 MXCSR=00001f80",
                  *(f"FPR{n}=0000000000000000 0000 FPR{n + 1}=0000000000000000 0000" for n in (0, 2, 4, 6)),
                  "XMM00=0000000000000000 0000000000000000 XMM01=0000000000000000 0000000000000000"]  # fmt: skip
    return "\n".join(lines) + "\n"


def selectors(cpu: Cpu) -> tuple[int, int]:
    """Return CS and the selector of data."""
    if cpu.is_real:
        return 0xF000, 0
    return (0x1B, 0x23) if cpu.cpl else (8, 0x10)


def header(event: Happening, number: int, version: Version) -> str:
    """Return the first line of a record."""
    cpu, digits = event.cpu, 8 if version.narrow else 16
    code, data = selectors(cpu)
    linear = cpu.base + cpu.rip & (1 << (64 if cpu.is_long else 32)) - 1
    tail = f"CR2={cpu.cr2:0{digits}x}" if event.vector == PF else f"{version.eax}={0x1234_5000:0{digits}x}"
    return (
        f"{number:6d}: v={event.vector:02x} e={event.error:04x} i={int(event.kind == INT)} cpl={cpu.cpl}"
        f" IP={code:04x}:{cpu.rip:0{digits}x} pc={linear:0{digits}x} SP={data:04x}:{cpu.rsp:0{digits}x} {tail}\n"
    )


def pieces(told: list[Happening | Died | Reset | Noise | Smm], version: Version, items: str) -> Iterator[Piece]:
    """Yield what QEMU writes; ``items``: int, cpu_reset, both, or ``v=`` for the first lines of records alone."""
    number = 0
    is_int, is_reset = items in ("int", "both", "v="), items in ("cpu_reset", "both")
    for each in told:
        if isinstance(each, Happening):
            before = ""
            if each.kind == EXCEPTION and each.old is not None:
                before = f"check_exception old: 0x{each.old:x} new 0x{each.struck or 0:x}\n"
            elif each.kind not in (EXCEPTION, INT) and version.services and each.vector != 2:
                before = f"Servicing hardware INT=0x{each.vector:02x}\n"
            if items == "v=":
                if not each.is_real:
                    yield Piece(header(each, number, version), each)
            elif is_int and each.is_real:
                if before:
                    yield Piece(before, each)
            elif is_int:
                yield Piece(before + header(each, number, version) + dump(each.cpu, version), each)
            number += not each.is_real
        elif isinstance(each, Died):
            word = "Triple fault\n" if is_reset else ""
            check = f"check_exception old: 0x8 new 0x{each.struck:x}\n" if is_int and items != "v=" else ""
            if word or check:
                yield Piece(check + word, each)
        elif isinstance(each, Reset):
            for _ in range(each.count if is_reset else 0):
                for number_of, cpu in enumerate(each.cpus):
                    shown = cpu if not version.late_dump else at_reset()
                    yield Piece(f"CPU Reset (CPU {number_of})\n" + dump(shown, version, True), each)
        elif isinstance(each, Smm):
            if is_int and items != "v=":
                yield Piece("SMM: enter\n" + dump(each.cpu, version) + "SMM: after RSM\n" + dump(each.cpu, version), each)
        elif items != "v=":
            yield Piece(each.text, each)


def at_reset() -> Cpu:
    """Return a CPU that has not run yet."""
    return Cpu(Mode.FLAT, is_real=True, rip=0xFFF0, idt=(0, 0xFFFF), gdt=(0, 0xFFFF))
