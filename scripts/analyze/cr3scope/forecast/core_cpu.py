"""The CPU of an ELF core: stopped for good, with whatever memory the core holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cr3scope.errors import UnusableInput
from cr3scope.forecast.stopped_cpu import BASES, StoppedCpu
from cr3scope.forecast.switch import switch_at_pc
from cr3scope.machine.qmp import QmpError
from cr3scope.machine.snapshot import Table
from cr3scope.paging.cpu import CR0_PG, CR4_PAE, CpuState
from cr3scope.paging.platform import Platform
from cr3scope.paging.tables import Entries
from cr3scope.paging.walk import walk
from cr3scope.sources.core_note import CoreCpu, Segment
from cr3scope.sources.elf_core import Core
from cr3scope.sources.physical_memory import PhysicalMemory

PLATFORM, EFER, MAX_PHYS_BITS, RAM = "platform", "efer", "maxphyaddr", "ram"
_RANGE = re.compile(r"\b([0-9a-f]{1,16})-([0-9a-f]{1,16})\b")
_TABLES = ("IDT", "GDT")
_SELECTORS = ("CS", "DS", "ES", "FS", "GS", "SS", "TR")
_UNTOLD_EFER = CpuState(cr3=0).efer


class _NoMonitor:
    """A core answers no questions."""

    def monitor(self, command: str) -> str:
        raise QmpError(f"a core has no monitor for `{command}`")


@dataclass(slots=True)
class CoreStop(StoppedCpu):
    """Memory by the core's segments.

    ``absent``: physical addresses that were wanted and are not in it. ``told_ram``: the machine's RAM,
    as :func:`ram_words` writes it.
    """

    memory: PhysicalMemory = field(default_factory=lambda: PhysicalMemory(b"", ()))
    absent: set[int] = field(default_factory=set)
    told_ram: str = ""

    def table(self, phys: int) -> Entries | None:
        """A table page."""
        found = self.memory.table(phys)
        if found is None:
            self._lacks(phys)
        return found

    def physical(self, phys: int, length: int) -> bytes:
        """As many of the bytes as the core holds. Whoever looks around may find nothing."""
        return self.memory.bytes_at(phys, length)

    def read(self, phys: int, count: int) -> bytes | None:
        """What an exception reads."""
        found = self.physical(phys, count)
        if len(found) < count:
            self._lacks(phys + len(found))
            return None
        return found

    def bytes_at(self, virt: int, length: int) -> bytes:
        """Memory by the tables, as far as they map it and the core holds it."""
        # By name: in a dataclass with slots `super()` means another class.
        found = StoppedCpu.bytes_at(self, virt, length)
        if len(found) < length:
            phys = walk(self, self.cpu, virt + len(found) & (1 << 64) - 1).phys
            if phys is not None:
                self._lacks(phys)
        return found

    def _lacks(self, phys: int) -> None:
        """Note what the core does not hold, unless it tells that the machine has no memory there."""
        ranges = list(self.ram())
        if not ranges or any(first <= phys <= last for first, last in ranges):
            self.absent.add(phys)

    def heads(self, places: Iterable[int], length: int) -> Iterator[bytes]:
        return (self.physical(at, length) for at in places)

    def ram(self) -> Iterable[tuple[int, int]]:
        """None where the core does not tell."""
        return ((int(first, 16), int(last, 16)) for first, last in _RANGE.findall(self.told_ram))


def ram_words(ranges: Iterable[tuple[int, int]]) -> str:
    """``0-9ffff,100000-fffffff``: first and last physical address of each range of RAM."""
    return ",".join(f"{first:x}-{last:x}" for first, last in ranges)


def stopped_cpu(core: Core, path: str) -> CoreStop:
    """The first CPU that stands at a `mov cr3`, else the first one in long mode.

    UnusableInput if the core tells of none.
    """
    cpus = [_one(core, number, one) for number, one in enumerate(core.cpus)]
    if not cpus:
        raise UnusableInput(f"{path}: the core tells no CPU's registers (no QEMU note)")
    paging = [one for one in cpus if one.in_long_mode]
    if not paging:
        raise UnusableInput(f"{path}: no CPU of the core is in long mode: only 64-bit paging can be judged")
    return next((one for one in paging if switch_at_pc(one) is not None), paging[0])


def _one(core: Core, number: int, one: CoreCpu) -> CoreStop:
    idt, gdt = (one.segments.get(name, Segment()) for name in _TABLES)
    registers = dict(one.registers)
    for name in BASES:
        segment = one.segments.get(name.partition("_")[0])
        if segment is not None:
            registers[name] = segment.base
    efer = core.word(EFER)
    if efer is None:
        is_long = registers.get("CR0", 0) & CR0_PG and registers.get("CR4", 0) & CR4_PAE
        efer = _UNTOLD_EFER if is_long else 0
    registers["EFER"] = efer
    platform = Platform.read(core.words.get(PLATFORM, ""))
    selectors = {name: one.segments[name].selector for name in _SELECTORS if name in one.segments}
    return CoreStop(
        _NoMonitor(),  # type: ignore[arg-type]
        registers, core.word(MAX_PHYS_BITS) or 52, selectors,
        Table(idt.base, idt.limit), Table(gdt.base, gdt.limit), number, one.code_bits,
        platform=platform, memory=core.memory, told_ram=core.words.get(RAM, ""),
    )  # fmt: skip
