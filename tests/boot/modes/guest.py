"""Runs the guest of the modes of paging: records in, answers out, all of a boot that needs no firmware."""

from __future__ import annotations

import contextlib
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boot.modes.memory import BACKGROUND, BACKGROUND_END, HIGH, HIGH_FILLED, TABLES, Image, background
from boot.reference import make
from elftools.elf.elffile import ELFFile

STAY, STAYS = 3, b"!"
BACK, MARK = 0x80, 0x5A5A5A5A  # of guest.S
CASES = 0x12_0000
CODE = 0x18_0000  # of sequences, up to their stack
SECONDS = 60.0
ENTRY = 0x10_0000  # where guest.S begins
_RECORD = struct.Struct("<8IQQ32x")
_ANSWER = struct.Struct("<2IQ4I")
_CPU = struct.Struct("<6I4s")
CPU_BYTES, ANSWER_BYTES, VENDOR_AT = _CPU.size, _ANSWER.size, 24
_AT_CPL3, _WIDE, _CHECKED, _HAS_EFER = 1, 2, 4, 8
_PAE, _PSE36, _GIGAPAGES, _SMEP, _SMAP, _LA57 = 1 << 6, 1 << 17, 1 << 26, 1 << 7, 1 << 20, 1 << 16
_LEAST_BITS, _WIDE_BITS = 32, 36  # of a CPU that does not tell (SDM 3A, 5.1.4)


# The ROM ends with the reset vector, at FFFFFFF0h in 16-bit code. cli; lgdt cs:[0xffc0]; mov eax, cr0; or al, 1; mov cr0, eax;
# ljmp 8:ENTRY. Behind that the GDT: code and data of 4 GiB.
_ROM_BYTES, _CODE_AT, _GDTR_AT, _GDT_AT, _RESET_AT = 1 << 16, 0xFF80, 0xFFC0, 0xFFC8, 0xFFF0
_TO_PROTECTED_MODE = bytes.fromhex("fa 2e660f0116c0ff 0f20c0 0c01 0f22c0 66ea")
_DESCRIPTORS = struct.pack("<3Q", 0, 0x00CF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF)
_TO_CODE = b"\xe9" + struct.pack("<h", _CODE_AT - _RESET_AT - 3)


def rom(entry: int = ENTRY) -> bytes:
    """Return what the CPU begins with at its reset, in the place of a firmware; it goes to ``entry`` in 32-bit code."""
    made = bytearray(_ROM_BYTES)
    gdtr = struct.pack("<HI", len(_DESCRIPTORS) - 1, (1 << 32) - _ROM_BYTES + _GDT_AT)
    for at, data in ((_CODE_AT, _TO_PROTECTED_MODE + struct.pack("<IH", entry, 8)), (_GDTR_AT, gdtr), (_GDT_AT, _DESCRIPTORS), (_RESET_AT, _TO_CODE)):
        made[at : at + len(data)] = data
    return bytes(made)


@dataclass(frozen=True)
class Record:
    """One change and one access. ``kind``: 0 read, 1 write, 2 fetch, STAY: none, and the guest says so and halts."""

    cr0: int
    cr3: int
    cr4: int
    efer: int
    entry: int
    flipped: int
    kind: int
    address: int
    user: bool = False
    wide: bool = False
    checked: bool = False  # RFLAGS.AC
    probe: int = 0


@dataclass(frozen=True)
class Answer:
    """What came of it: the vector, BACK for none."""

    vector: int
    error: int
    cr2: int
    value: int
    probe: int
    rip: int  # the lower half of each
    rsp: int


@dataclass(frozen=True)
class Cpu:
    """What CPUID tells of the guest's CPU."""

    max_phys_bits: int
    is_amd: bool
    has_1g_pages: bool
    has_smep: bool
    has_smap: bool
    has_la57: bool


def command(
    folder: Path, image: Image, records: Sequence[Record], options: Sequence[str], has_efer: bool = True, code: bytes = b""
) -> list[str]:
    """Return the command line of QEMU for a guest with these records; its files are written to ``folder``. ``code`` lies at CODE."""
    head = struct.pack("<2I", len(records), 0)
    files = {
        CASES: head + b"".join(_packed(one, has_efer) for one in records), TABLES: image.file(),
        BACKGROUND: background(BACKGROUND, BACKGROUND_END), HIGH: background(HIGH, HIGH_FILLED),
    }  # fmt: skip
    if code:
        files[CODE] = code
    (folder / "rom").write_bytes(rom())
    words = ["qemu-system-x86_64", "-m", "128M", *options, "-nodefaults", "-display", "none", "-no-reboot",
             "-bios", str(folder / "rom"), "-device", f"loader,file={make('modes/guest.elf')}",
             "-debugcon", f"file:{folder / 'answers'}", "-device", "isa-debug-exit,iobase=0x501,iosize=4"]  # fmt: skip
    for phys, data in files.items():
        path = folder / f"{phys:x}"
        path.write_bytes(data)
        words += ["-device", f"loader,file={path},addr={phys:#x},force-raw=on"]
    return words


def ask(
    folder: Path, image: Image, records: Sequence[Record], options: Sequence[str], has_efer: bool = True, code: bytes = b"",
    is_narrow: bool = False,
) -> tuple[Cpu, list[Answer]]:
    """Boot once and return the CPU and an answer for each record; fewer if the guest died of one. ``is_narrow``: as for :func:`told`."""
    words = command(folder, image, records, options, has_efer, code)
    with contextlib.suppress(subprocess.TimeoutExpired):  # then answers are missing
        subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=SECONDS)
    answers = (folder / "answers").read_bytes()
    assert len(answers) >= CPU_BYTES, f"the guest did not begin within {SECONDS:g} s"
    return told(answers, is_narrow)


def told(answers: bytes, is_narrow: bool = False) -> tuple[Cpu, list[Answer]]:
    """Return the CPU and the answers of what a guest has written to port E9h.

    ``is_narrow``: where CPUID does not tell MAXPHYADDR, PAE alone does not make it 36 (SDM 3A, 5.1.4).
    """
    wide = _PSE36 if is_narrow else _PSE36 | _PAE
    _, bits, edx, seven, seven_c, extended, vendor = _CPU.unpack_from(answers)
    cpu = Cpu(
        bits or (_WIDE_BITS if edx & wide else _LEAST_BITS), vendor == b"cAMD", bool(extended & _GIGAPAGES), bool(seven & _SMEP),
        bool(seven & _SMAP), bool(seven_c & _LA57),
    )  # fmt: skip
    whole = len(answers) - (len(answers) - _CPU.size) % _ANSWER.size
    return cpu, [Answer(*one) for one in _ANSWER.iter_unpack(answers[_CPU.size : whole])]


def low_memory(image: Image, records: Sequence[Record], has_efer: bool = True) -> bytes:
    """Return memory from ENTRY to the end of the tables, for a machine that loads nothing else: the guest makes its background."""
    low = bytearray(image.free - ENTRY)
    with make("modes/guest.elf").open("rb") as file:
        pieces = {one["p_paddr"]: one.data() for one in ELFFile(file).iter_segments() if one["p_type"] == "PT_LOAD"}
    pieces |= {CASES: struct.pack("<2I", len(records), 1) + b"".join(_packed(one, has_efer) for one in records), TABLES: image.file()[: image.free - TABLES]}
    for at, data in pieces.items():
        low[at - ENTRY : at - ENTRY + len(data)] = data
    return bytes(low)


def _packed(one: Record, has_efer: bool) -> bytes:
    flags = one.user * _AT_CPL3 | one.wide * _WIDE | one.checked * _CHECKED | has_efer * _HAS_EFER
    return _RECORD.pack(
        one.cr0, one.cr3, one.cr4, one.efer, one.entry, one.kind, flags, one.probe, one.flipped, one.address
    )
