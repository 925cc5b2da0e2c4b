"""What `info registers` of a paused guest tells of its mode and of its segments."""

from __future__ import annotations

import pytest

from cr3scope.qemu.paused_guest import stopped_cpus
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.segment import Segment

_HEAD = """
CPU#0
EAX=80010001 EBX=00009500 ECX=00100010 EDX=00010511
ESI=00000000 EDI=00101000 EBP=00000000 ESP=0000f000
EIP=00000057 EFL=00000006 [-----P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
"""
_REAL = """CS =f000 000f0000 0000ffff 00009b00
SS =0010 00000100 0000ffff 00009300
LDT=0000 00000000 0000ffff 00008200
TR =0000 00000000 0000ffff 00008b00
GDT=     00000000 00000000
IDT=     00000000 000003ff
CR0=00000010 CR2=00000000 CR3=00000000 CR4=00000000
EFER=0000000000000000
"""
_PROTECTED = """CS =0008 40000000 ffffffff 00cf9a00 DPL=0 CS32 [-R-]
SS =0010 00000000 ffffffff 00cf9300 DPL=0 DS   [-WA]
LDT=0058 00002000 0000000f 00008200 DPL=0 LDT
TR =0028 c0180000 00000067 00008b00 DPL=0 TSS32-busy
GDT=     0000c000 00000047
IDT=     0000d000 000007ff
CR0=80010011 CR2=00100057 CR3=00101000 CR4=00000010
EFER=0000000000000000
"""


class Monitor:
    """QEMU's monitor, which knows the registers alone, and 64 KiB at 0 by bytes."""

    def __init__(self, text: str) -> None:
        self._text = text

    def monitor(self, line: str) -> str:
        return self._text if line.startswith("info registers") else ""

    def execute(self, command: str, **_: object) -> object:
        return []


def cpu(text: str) -> StoppedCpu:
    return stopped_cpus(Monitor(_HEAD + text))[0]


@pytest.mark.parametrize(
    ("text", "mode", "bits", "pc", "stack"),
    [(_REAL, CpuMode.REAL, 16, 0xF0057, 0xF100), (_PROTECTED, CpuMode.PROTECTED, 32, 0x40000057, 0xF000)],
)
def test_the_mode_and_linear_addresses_of_code_and_stack(text: str, mode: CpuMode, bits: int, pc: int, stack: int) -> None:
    """Of real mode QEMU prints no CS16: it was taken for 64-bit code, and offsets for addresses."""
    seen = cpu(text)
    assert (seen.mode, seen.code_bits, seen.pc, seen.stack) == (mode, bits, pc, stack)
    assert (seen.rip, seen.rsp) == (0x57, 0xF000)


def test_what_the_cpu_keeps_of_each_descriptor() -> None:
    seen = cpu(_PROTECTED)
    assert seen.segments["TR"] == Segment(0x28, 0xC0180000, 0x67, 0x8B00) and seen.segments["TR"].system_type == 0xB
    assert seen.delivery_registers.segments["ldt"].base == 0x2000
    table = seen.descriptor_table(0xC)
    assert table is not None and (table.base, table.limit) == (0x2000, 0xF)
    assert seen.descriptor_table(8) == seen.gdt
    assert seen.descriptor(0x14) is None  # beyond the LDT's limit


@pytest.mark.parametrize(
    ("flags", "limit", "offset", "width", "holds"),
    [
        (0x00CF9300, 0xFFFF, 0xFFFC, 4, True), (0x00CF9300, 0xFFFF, 0xFFFD, 4, False),
        (0x00CF9700, 0xFFFF, 0x10000, 4, True), (0x00CF9700, 0xFFFF, 0xFFFF, 4, False), (0x00009700, 0xFFF, 0xFFFE, 4, False),
        (0x00CF9F00, 0xFFFF, 0x10000, 1, False),
    ],
    ids=["up", "up, over", "down", "down, at the limit", "down, 16 bits", "conforming code"],
)  # fmt: skip
def test_a_limit_counts_upwards_or_downwards(flags: int, limit: int, offset: int, width: int, holds: bool) -> None:
    assert Segment(8, 0, limit, flags).holds(offset, width) is holds
