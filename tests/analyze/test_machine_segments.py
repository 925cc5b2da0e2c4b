"""What `info registers` of a paused guest tells of its mode and of its segments."""

from __future__ import annotations

from pathlib import Path

import pytest

from cr3scope.diagnose.facts.reset import firmware_cr3
from cr3scope.input.logs.int_log.record import read_records
from cr3scope.model.parked import Park
from cr3scope.qemu.park import parked
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


def test_the_log_s_address_of_an_instruction_has_32_bits_outside_64_bit_code() -> None:
    """QEMU adds offset and base in 64 bits: a fetch in a segment with a base was told as a read."""
    head = "     0: v=0e e=0000 i=0 cpl=0 IP=0008:00000000c0100057 pc=0000000100100057 SP=0010:000000000000f000 CR2=0000000000100057"
    [record] = read_records(f"check_exception old: 0xffffffff new 0xe\n{head}{_HEAD}{_PROTECTED}".encode())
    assert record.cpu.linear == 0x100057 and record.access == "fetch" and record.fault.is_fetch


class Rom(Monitor):
    """A guest whose ROM ends with these bytes, from the reset vector on."""

    def __init__(self, rom: bytes) -> None:
        super().__init__(_HEAD + _PROTECTED)
        self._rom = rom.ljust(16, b"\0")

    def monitor(self, line: str) -> str:
        if not line.startswith("xp"):
            return super().monitor(line)
        at = int(line.split()[-1], 16) - 0xFFFFFFF0
        return "0: " + " ".join(f"0x{byte:02x}" for byte in self._rom[at : at + 8]) if "bx" in line else ""


@pytest.mark.parametrize(("rom", "wanted"), [(b"\xea\x5b\xe0\0\xf006/23/99\0\xfc\0", None), (b"\x90\x90\xe9\xd3\xff", 0x1000)])
def test_a_bios_has_no_tables_of_its_own(rom: bytes, wanted: int | None, tmp_path: Path) -> None:
    """The first interrupt that the log tells came under the kernel's: it was said not to have switched."""
    log = tmp_path / "log"
    log.write_bytes(b"Servicing hardware INT=0x20\n     0: v=20 CR3=00001000 ")
    assert firmware_cr3(log, stopped_cpus(Rom(rom))[0]) == wanted


class Code(Monitor):
    """A guest with this code at an address, in a memory of zeros."""

    def __init__(self, text: str, at: int, code: bytes) -> None:
        super().__init__(text)
        self._at, self._code = at, code

    def execute(self, command: str, **arguments: object) -> object:
        line = str(arguments.get("command-line", ""))
        if not line.startswith("x "):
            return []
        at, memory = int(line.split()[-1], 16), bytes(self._at) + self._code + bytes(128)
        return "0: " + " ".join(f"0x{byte:02x}" for byte in memory[at : at + 64])


@pytest.mark.parametrize(("segment", "wanted"), [(0x900, Park.HALTED), (0xF000, None)], ids=["own code", "the BIOS"])
def test_real_mode_code_may_park_too(segment: int, wanted: Park | None) -> None:
    """It was hung: a loop of hlt in protected mode was not."""
    real = _REAL.replace("f000 000f0000", f"{segment:04x} {segment << 4:08x}")
    text = (_HEAD + real).replace("EIP=00000057", "EIP=00000001").replace("HLT=0", "HLT=1")
    assert parked(Code(text, segment << 4, b"\xf4\xeb\xfd")) is wanted
