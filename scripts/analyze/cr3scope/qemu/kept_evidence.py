"""What a paused guest leaves behind: its tables as an ELF core, and its state in words.

One pass, bounded in pages and in time: what could not be read is said, and the rest is kept.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import field
from pathlib import Path

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.images.loaded import Image
from cr3scope.input.sources.core_note import CoreCpu
from cr3scope.input.sources.write_core import write_core
from cr3scope.paging.reach import stages
from cr3scope.paging.tables import Entries
from cr3scope.paging.walk import access, walk
from cr3scope.qemu.qmp import QmpError
from cr3scope.render.output_file import write_whole
from cr3scope.render.walk import as_text
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.text import printable
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_mode import CpuMode
from cr3scope.x86.cpu_state import CR0_PG, CpuState
from cr3scope.x86.descriptors import VECTOR_BYTES, Gate
from cr3scope.x86.entry import formats_of
from cr3scope.x86.platform import Platform

CORE, STATE = "tables.core", "machine.txt"
MOST_SECONDS = 5.0
_CODE_BEFORE, _CODE_BYTES = 16, 80
_STACK_BYTES = 128
_GATES = 32  # the CPU's own exceptions
_MOST_DESCRIPTORS = 32
_EFER_BITS = {0: "SCE", 8: "LME", 10: "LMA", 11: "NXE", 12: "SVME", 13: "LMSLE", 14: "FFXSR"}


@dataclass(slots=True)
class Kept:
    """What was written; ``pages`` is 0 where paging is off."""

    state: Path
    core: Path | None = None
    pages: int = 0
    cr3: int = 0
    tables: dict[int, bytes] = field(default_factory=dict)  # table pages by address, of all CPUs
    notes: list[str] = field(default_factory=list)

    def words(self) -> Iterator[str]:
        """Yield lines for the end of the output, which say what was kept."""
        yield f"kept  {self.state}: registers, descriptor tables, walks, bytes at RIP"
        if self.core is not None:
            yield (
                f"      {self.core}: {self.pages} table pages under CR3={self.cr3:#x};"
                f" cr3scope maps {self.core}"
            )


def keep(
    folder: Path, cpus: Sequence[StoppedCpu], judged: StoppedCpu, images: Sequence[Image] = ()
) -> Kept:
    """Write both files and return what they are. OSError if the folder refuses.

    A silent QEMU only costs the rest, no QmpError.
    """
    kept = Kept(folder / STATE)
    lines: list[str] = []
    try:
        lines.extend(_state(cpus, judged, images))
    except QmpError as error:
        lines.append(f"(cut short: {error})")
        kept.notes.append(f"{STATE} is cut short: {error}")
    write_whole(kept.state, (f"{line}\n".encode() for line in lines))
    # A CPU that died without paging has no tables: those of another one are told of then.
    paged = sorted((cpu for cpu in cpus if _is_paged(cpu)), key=lambda cpu: cpu is not judged)
    if not paged:
        return kept
    tables = _Bounded(paged[0])
    for state in {_space_of(cpu.cpu): cpu.cpu for cpu in paged}.values():  # most CPUs have the same tables
        _read_all(tables, state)
    if tables.refused:
        kept.notes.append(f"{CORE} is not whole: {tables.refused}")
    if tables.pages:
        state = paged[0].cpu
        registers = {"CR0": state.cr0, "CR3": state.cr3, "CR4": state.cr4}
        words = {"efer": f"{state.efer:#x}"}
        write_whole(folder / CORE, [write_core(CoreCpu(registers), tables.pages, words)])
        kept.core, kept.pages, kept.tables = folder / CORE, len(tables.pages), tables.pages
        kept.cr3 = state.cr3
    return kept


class _Bounded:
    """Table pages through a snapshot, until there are too many or the time is up."""

    def __init__(self, snapshot: StoppedCpu) -> None:
        self._snapshot = snapshot
        self._until = time.monotonic() + MOST_SECONDS
        self.pages: dict[int, bytes] = {}
        self.refused = ""

    def table(self, phys: int) -> Entries | None:
        """Return the entries; None where there is no memory, or no more is read."""
        if len(self.pages) >= limits.KEPT_TABLE_PAGES:
            self.refused = self.refused or f"more than {limits.KEPT_TABLE_PAGES} table pages"
        elif time.monotonic() > self._until:
            self.refused = self.refused or f"not done after {MOST_SECONDS:g} s"
        if self.refused:
            return None
        try:
            entries = self._snapshot.table(phys)
        except QmpError as error:
            self.refused = str(error)
            return None
        if entries is not None:
            self.pages[phys] = entries.tobytes()
        return entries


def _space_of(cpu: CpuState) -> tuple[object, ...]:
    """What decides which tables a walk can meet."""
    return cpu.root, formats_of(cpu), cpu.pdptes


def _read_all(tables: _Bounded, cpu: CpuState) -> None:
    for _ in stages(tables, cpu):
        pass


def _state(
    cpus: Sequence[StoppedCpu], judged: StoppedCpu, images: Sequence[Image]
) -> Iterator[str]:
    for cpu in cpus:
        judged_words = " (judged)" if cpu is judged and len(cpus) > 1 else ""
        yield f"CPU {cpu.number}{judged_words}"
        yield from _registers(cpu)
        yield ""
    yield from _descriptor_tables(judged)
    yield from _memory("bytes at RIP", judged, judged.pc, _CODE_BEFORE, _CODE_BYTES)
    yield from _memory("stack", judged, judged.stack, 0, _STACK_BYTES)
    if not _is_paged(judged):
        yield f"{judged.mode.value}, paging off: no tables to walk"
        return
    places = (
        ("RIP", judged.pc, AccessKind.FETCH), ("RSP", judged.stack, AccessKind.WRITE),
        ("CR2", judged.registers.get("CR2", 0), AccessKind.READ),
    )  # fmt: skip
    for name, virt, kind in places:
        yield f"walk of {name}"
        path = walk(judged, judged.cpu, virt, Platform.TCG)
        found = access(judged, judged.cpu, virt, kind, platform=Platform.TCG)
        yield from ("  " + line for line in as_text(path, found, f"{kind.value}"))
        yield ""
    if images:
        yield f"images that the firmware has loaded: {len(images)}"
    for image in sorted(images, key=lambda each: each.base):
        name = printable(image.name or "(no name)")
        yield f"  {image.base:#018x}..{image.base + image.size - 1:#018x}  {name}"


def _is_paged(cpu: StoppedCpu) -> bool:
    """Whether it has tables: PG without PE, which TCG does not refuse, turns nothing on."""
    return bool(cpu.cpu.cr0 & CR0_PG) and cpu.mode is not CpuMode.REAL


def _registers(cpu: StoppedCpu) -> Iterator[str]:
    """Two columns: what they are called in `info registers`, and their values."""
    cells = [
        f"{name:<4}={value:#018x}"
        for name, value in cpu.registers.items()
        if name != "HLT" and not name.startswith("FPR")
    ]
    for at in range(0, len(cells), 4):
        yield "  " + "  ".join(cells[at : at + 4])
    efer = cpu.registers.get("EFER", 0)
    on = " ".join(name for bit, name in _EFER_BITS.items() if efer >> bit & 1)
    yield f"  EFER: {on or 'no bit set'}"
    state = "halted" if cpu.halted else "running"
    yield f"  {state}, interrupts {'on' if cpu.interrupts_on else 'off'}"
    yield "  " + "  ".join(f"{name}={value:04x}" for name, value in cpu.selectors.items())


def _descriptor_tables(cpu: StoppedCpu) -> Iterator[str]:
    for name, table in (("GDT", cpu.gdt), ("IDT", cpu.idt)):
        if table is not None:
            yield f"{name} at {table.base:#x}, limit {table.limit:x}h"
            yield from _descriptors(cpu) if name == "GDT" else _gates(cpu)
            yield ""


def _descriptors(cpu: StoppedCpu) -> Iterator[str]:
    assert cpu.gdt is not None
    for selector in range(0, min(cpu.gdt.limit + 1, 8 * _MOST_DESCRIPTORS) & ~7, 8):
        descriptor = cpu.descriptor(selector)
        if descriptor is None:
            yield f"  {selector:02x}h and on: cannot be read"
            return
        if descriptor:
            yield f"  {selector:02x}h  {descriptor:016x}"


def _gates(cpu: StoppedCpu) -> Iterator[str]:
    assert cpu.idt is not None
    size = cpu.mode.gate_bytes
    there = min((cpu.idt.limit + 1) // size, _GATES)
    data = cpu.bytes_at(cpu.idt.base, size * there) if there else b""
    for vector in range(_GATES):
        found = data[size * vector : size * (vector + 1)]
        if len(found) < size:
            yield f"  {vector:02x}h and on: beyond the limit, or cannot be read"
            return
        if size == VECTOR_BYTES:
            offset, segment = struct.unpack("<HH", found)
            yield f"  {vector:02x}h  {segment:04x}:{offset:04x}"
        elif any(found):
            gate = Gate.decode(found)
            yield (
                f"  {vector:02x}h  {gate.target:#018x}  selector {gate.selector:02x}h"
                f"  type {gate.type:x}h  {'present' if gate.present else 'not present'}"
            )


def _memory(name: str, cpu: StoppedCpu, virt: int, before: int, length: int) -> Iterator[str]:
    start = virt - before if virt >= before and cpu.bytes_at(virt - before, 1) else virt
    data = cpu.bytes_at(start, length)
    yield f"{name} ({virt:#x})"
    if not data:
        yield "  not mapped"
    for at in range(0, len(data), 16):
        yield f"  {start + at:#018x}  {data[at : at + 16].hex(' ')}"
    yield ""
