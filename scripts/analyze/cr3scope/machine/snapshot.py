"""A paused guest's registers and memory, asked of QEMU's monitor as far as a question needs them."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cr3scope.machine import memory_map
from cr3scope.machine.qmp import Qmp, QmpError, read_registers
from cr3scope.paging.cpu import CpuState
from cr3scope.paging.entry import ENTRIES, ENTRY_BYTES, PAGE_BYTES
from cr3scope.paging.tables import Entries
from cr3scope.paging.walk import walk

INTERRUPTS_ON = 1 << 9  # RFLAGS.IF
_EFER_LMA = 1 << 10
_SEGMENT = re.compile(r"\b([CDEFGS]S|TR) ?=([0-9a-f]{4}) ")
_CODE_BITS = re.compile(r"^CS ?=.* CS(16|32|64)\b", re.MULTILINE)
_BASE = re.compile(r"\b([FG]S) ?=[0-9a-f]{4} ([0-9a-f]{8,16}) ")
_TABLE = re.compile(r"\b([GI]DT) ?= *([0-9a-f]{8,16}) ([0-9a-f]{8})\b")
_LINE = re.compile(r"^[0-9a-f]+: +(.*)$", re.MULTILINE)
_PHYS_BITS = 40  # QEMU's own default
_GATE_BYTES = 16
_MOST_AS_TEXT = 2 * PAGE_BYTES  # more is asked for as a file
_CPU = re.compile(r"^\s*CPU#(\d+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Table:
    """IDTR or GDTR. ``limit`` is the last byte's offset."""

    base: int
    limit: int

    def has(self, virt: int) -> bool:
        """Whether the address lies in the table."""
        return 0 <= virt - self.base <= self.limit


@dataclass(slots=True)
class Snapshot:
    """One CPU of a paused guest. Memory is read on demand: every reader may raise QmpError."""

    qmp: Qmp
    registers: dict[str, int]
    phys_bits: int = _PHYS_BITS
    selectors: dict[str, int] = field(default_factory=dict)
    idt: Table | None = None
    gdt: Table | None = None
    number: int = 0  # QEMU's, of the CPU
    code_bits: int = 64  # of the code segment: 16 or 32 in compatibility mode
    _tables: dict[int, Entries | None] = field(default_factory=dict)

    @property
    def rip(self) -> int:
        return self.registers.get("RIP", 0)

    @property
    def interrupts_on(self) -> bool:
        return bool(self.registers.get("RFL", 0) & INTERRUPTS_ON)

    @property
    def halted(self) -> bool:
        return bool(self.registers.get("HLT"))

    @property
    def in_long_mode(self) -> bool:
        return bool(self.registers.get("EFER", 0) & _EFER_LMA)

    @property
    def cpu(self) -> CpuState:
        """What decides how addresses are translated."""
        get = self.registers.get
        return CpuState(
            cr3=get("CR3", 0), cr0=get("CR0", 0), cr4=get("CR4", 0), efer=get("EFER", 0),
            max_phys_bits=self.phys_bits, rflags=get("RFL", 2),
        )  # fmt: skip

    def table(self, phys: int) -> Entries | None:
        """A page of entries, for walks; None where there is no memory."""
        if phys not in self._tables:
            words = self._dump(f"xp /{ENTRIES}gx {phys:#x}")
            whole = len(words) == ENTRIES
            self._tables[phys] = np.array(words, dtype=np.uint64) if whole else None
        return self._tables[phys]

    def bytes_at(self, virt: int, length: int) -> bytes:
        """Memory by the live tables, as far as they map it and there is memory."""
        data = b""
        while len(data) < length:
            at = (virt + len(data)) & (1 << 64) - 1
            phys = walk(self, self.cpu, at).phys
            if phys is None:
                break
            wanted = min(length - len(data), PAGE_BYTES - at % PAGE_BYTES)
            piece = self.physical(phys, wanted)
            data += piece
            if len(piece) < wanted:
                break
        return data

    def physical(self, phys: int, length: int) -> bytes:
        """Bytes of physical memory; none of a long piece that QEMU cannot write to a file."""
        if length <= _MOST_AS_TEXT:
            return bytes(self._dump(f"xp /{length}bx {phys:#x}"))
        with tempfile.TemporaryDirectory(prefix="cr3scope-") as folder:
            file = Path(folder, "memory")
            try:
                self.qmp.execute("pmemsave", val=phys, size=length, filename=str(file))
                return file.read_bytes()
            except (QmpError, OSError):
                return b""

    def heads(self, places: Iterable[int], length: int) -> Iterator[bytes]:
        """The first bytes at each of many physical addresses."""
        return (self.physical(at, length) for at in places)

    def ram(self) -> Iterable[tuple[int, int]]:
        """First and last physical address (inclusive) of each range of RAM."""
        return memory_map.ram_ranges(self.qmp.monitor(memory_map.COMMAND))

    def gate(self, vector: int) -> tuple[int, int] | None:
        """(address, 16 bytes as a number) of a gate of the IDT; None if it cannot be read."""
        if self.idt is None or _GATE_BYTES * (vector + 1) > self.idt.limit + 1:
            return None
        at = self.idt.base + _GATE_BYTES * vector
        data = self.bytes_at(at, _GATE_BYTES)
        return (at, int.from_bytes(data, "little")) if len(data) == _GATE_BYTES else None

    def descriptor(self, selector: int) -> int | None:
        """A descriptor of the GDT; None if it lies outside or cannot be read."""
        if self.gdt is None or (selector | 7) > self.gdt.limit:
            return None
        data = self.bytes_at(self.gdt.base + (selector & ~7), ENTRY_BYTES)
        return int.from_bytes(data, "little") if len(data) == ENTRY_BYTES else None

    def _dump(self, command: str) -> list[int]:
        lines = _LINE.findall(self.qmp.monitor(command))
        return [int(word, 16) for line in lines for word in line.split() if word.startswith("0x")]


def take_snapshot(qmp: Qmp) -> Snapshot:
    """Asks a paused guest for its first CPU; QmpError if QEMU does not answer."""
    return _snapshot(qmp, 0, qmp.monitor("info registers"), _phys_bits(qmp))


def take_snapshots(qmp: Qmp) -> tuple[Snapshot, ...]:
    """All CPUs of a paused guest; QmpError if QEMU does not answer."""
    phys_bits = _phys_bits(qmp)
    head, *told = _CPU.split(qmp.monitor("info registers -a"))
    numbers, texts = told[::2] or ["0"], told[1::2] or [head]
    return tuple(
        _snapshot(qmp, int(number), text, phys_bits) for number, text in zip(numbers, texts, strict=True)
    )


def _snapshot(qmp: Qmp, number: int, text: str, phys_bits: int) -> Snapshot:
    tables = {m[1]: Table(int(m[2], 16), int(m[3], 16)) for m in _TABLE.finditer(text)}
    selectors = {m[1]: int(m[2], 16) for m in _SEGMENT.finditer(text)}
    idt, gdt = tables.get("IDT"), tables.get("GDT")
    bits = _CODE_BITS.search(text)
    code_bits = int(bits[1]) if bits else 64
    registers = read_registers(text) | {f"{m[1]}_BASE": int(m[2], 16) for m in _BASE.finditer(text)}
    return Snapshot(qmp, registers, phys_bits, selectors, idt, gdt, number, code_bits)


def _phys_bits(qmp: Qmp) -> int:
    try:
        path = qmp.execute("query-cpus-fast")[0]["qom-path"]
        bits = int(qmp.execute("qom-get", path=path, property="phys-bits"))
    except (QmpError, LookupError, TypeError, ValueError):
        return _PHYS_BITS
    return bits if 32 <= bits <= 52 else _PHYS_BITS
