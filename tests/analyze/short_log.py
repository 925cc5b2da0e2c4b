"""Logs of QEMU's ``-d int`` with no more lines than it takes, 32 and 64 bits wide."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

NOTHING = 0xFFFF_FFFF  # no exception was being delivered
SEABIOS = 0xE2F1A  # where SeaBIOS executes INT3 in order to reset


@dataclass(frozen=True)
class Cpu:
    """The registers that a record dumps; ``wide`` in 64-bit code, whose IDT has gates of 16 bytes."""

    wide: bool = True
    rip: int = 0x20_1230
    rsp: int = 0x9_0F80
    cs: int = 8
    cs_base: int = 0
    cpl: int = 0
    cr0: int = 0x8001_0033
    cr2: int = 0
    cr3: int = 0x3000
    cr4: int = 0x20
    efer: int | None = 0x500
    idt: tuple[int, int] = (0x7_1000, 0xFFF)
    gdt: tuple[int, int] = (0x7_2000, 0x2F)
    task: int = 0x7_3000


WIDE = Cpu()
NARROW = Cpu(wide=False, cr0=0x8000_0011, cr4=0, efer=0, idt=(0x7_1000, 0x7FF), rip=0x10_5678, rsp=0x9_0F00)
NO_PAGING = replace(NARROW, cr0=0x11, cr3=0)
BOTH = {"64-bit": WIDE, "32-bit": NARROW}


@dataclass
class Log:
    """Lines, one event after the other; ``version``: of QEMU, which tells how a gate is written in an error code."""

    lines: list[str] = field(default_factory=list)
    number: int = 0
    version: int = 9

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def exception(self, vector: int, error: int, cpu: Cpu, old: int = NOTHING, struck: int | None = None) -> Log:
        """An exception of the CPU's own; ``struck``: what made a double fault of the one before."""
        self.lines.append(f"check_exception old: {old:#x} new {vector if struck is None else struck:#x}")
        return self._record(vector, error, cpu)

    def interrupt(self, vector: int, cpu: Cpu) -> Log:
        self.lines.append(f"Servicing hardware INT={vector:#04x}")
        return self._record(vector, 0, cpu)

    def instruction(self, vector: int, cpu: Cpu) -> Log:
        return self._record(vector, 0, cpu, software=1)

    def double_fault(self, first: int, struck: int, cpu: Cpu, cr2: int | None = None) -> Log:
        return self.exception(8, 0, cpu if cr2 is None else replace(cpu, cr2=cr2), first, struck)

    def triple_fault(self, struck: int = 13, word: bool = True) -> Log:
        self.lines.append(f"check_exception old: 0x8 new {struck:#x}")
        self.lines += ["Triple fault"] if word else []
        return self

    def death(self, vector: int, error: int, cpu: Cpu, struck: int = 13, cr2: int | None = None) -> Log:
        """An exception that cannot be delivered, and the end."""
        self.exception(vector, error, cpu).double_fault(vector, struck, cpu, cr2)
        return self.triple_fault(struck)

    def reset(self, cpu: Cpu) -> Log:
        self.lines.append("CPU Reset (CPU 0)")
        self.lines += dump(cpu)
        return self

    def seabios_reset(self) -> Log:
        """SeaBIOS finds that it has run before."""
        cpu = Cpu(wide=False, rip=SEABIOS, rsp=0xFC0, cr0=0x11, cr3=0, cr4=0, efer=0, idt=(0xF_6200, 0), gdt=(0xF_6180, 0x37), task=0)
        return self.instruction(3, cpu).death(13, 3 * 8 + 2, cpu)

    def gate(self, vector: int, cpu: Cpu) -> int:
        """The error code that names a gate."""
        return vector * (16 if cpu.wide and self.version < 8 else 8) + 2

    def _record(self, vector: int, error: int, cpu: Cpu, software: int = 0) -> Log:
        digits = 16 if cpu.wide else 8
        tail = f"CR2={cpu.cr2:0{digits}x}" if vector == 14 else f"env->regs[R_EAX]={0:0{digits}x}"
        self.lines.append(
            f"{self.number:6d}: v={vector:02x} e={error:04x} i={software} cpl={cpu.cpl} IP={cpu.cs:04x}:{cpu.rip:0{digits}x}"
            f" pc={cpu.rip + cpu.cs_base & (1 << 4 * digits) - 1:0{digits}x} SP=0010:{cpu.rsp:0{digits}x} {tail}"
        )
        self.number += 1
        self.lines += dump(cpu)
        return self


def dump(cpu: Cpu) -> list[str]:
    """The register dump, of what matters."""
    digits, letter = (16, "R") if cpu.wide else (8, "E")
    bits = 64 if cpu.wide else 32
    lines = [
        f"{letter}AX={0:0{digits}x} {letter}BX={0:0{digits}x} {letter}SP={cpu.rsp:0{digits}x}",
        f"{letter}IP={cpu.rip:0{digits}x} {letter}FL=00000046 [---Z-P-] CPL={cpu.cpl} II=0 A20=1 SMM=0 HLT=0",
        f"CS ={cpu.cs:04x} {cpu.cs_base:0{digits}x} ffffffff 00af9a00 DPL={cpu.cpl} CS{bits} [-R-]",
        f"TR =0028 {cpu.task:0{digits}x} 00000067 00008b00 DPL=0 TSS{bits}-busy",
        f"GDT=     {cpu.gdt[0]:0{digits}x} {cpu.gdt[1]:08x}",
        f"IDT=     {cpu.idt[0]:0{digits}x} {cpu.idt[1]:08x}",
        f"CR0={cpu.cr0:08x} CR2={cpu.cr2:0{digits}x} CR3={cpu.cr3:0{digits}x} CR4={cpu.cr4:08x}",
    ]
    return lines if cpu.efer is None else [*lines, f"EFER={cpu.efer:016x}"]
