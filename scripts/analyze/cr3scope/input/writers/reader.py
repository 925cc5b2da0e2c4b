"""Reads the plugin's file. Nothing in it is believed before it was compared with what can be."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.errors import UnusableInput
from cr3scope.input.writers import layout
from cr3scope.input.writers.layout import Part, Section
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.word import FOUR_GIB, QWORD

if TYPE_CHECKING:
    import numpy.typing as npt

_RESET_VECTOR = 0xFFFFFFF0  # where a CPU begins, Intel SDM volume 3A, 10.1.4
_PARTS = {layout.SLOT_LOW: Part.LOW, layout.SLOT_HIGH: Part.HIGH}
_PAGE = np.dtype([("phys", "<u8"), ("values", "<u4"), ("halves", "<u4")])


@dataclass(frozen=True, slots=True)
class Call:
    """A call that was under way: the instruction, and where it returns to."""

    rip: int
    returns_to: int


@dataclass(frozen=True, slots=True)
class Store:
    """A store of an instruction at ``rip``. ``calls``: those under way then, the newest first, as far as they are certain.

    ``moment`` orders stores and events; ``instructions``: how many the CPU had executed when that moment began, None if another CPU
    began it.
    """

    rip: int
    cpu: int
    moment: int
    instructions: int | None
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Word:
    """The last store to an aligned 8 bytes of physical memory; what was there before and after it, None if nobody knows.

    Where it touched but a half, ``other`` is the last store to the other one: None if there was none, or if that is not known
    (``is_other_known``).
    """

    phys: int
    store: Store
    before: int | None
    after: int | None
    part: Part = Part.WHOLE
    other: Store | None = None
    is_other_known: bool = True


@dataclass(frozen=True, slots=True)
class Event:
    """An instruction at ``rip`` that changed what shapes the switch. ``is_exact``: no store is of the same moment."""

    rip: int
    cpu: int
    kind: str  # one of layout.EVENTS
    moment: int
    instructions: int | None
    is_exact: bool
    in_interrupt: bool


@dataclass(frozen=True, slots=True)
class Block:
    """Instructions from ``first`` to ``last``, which a CPU entered ``times`` in a row; what is behind them is ``end``."""

    first: int
    last: int
    end: int
    times: int


class WritersFile:
    """The file, open; ``close`` it."""

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise UnusableInput(f"{path}: {error.strerror}") from error
        try:
            self._read_header(path)
        except UnusableInput:
            self.close()
            raise

    def _read_header(self, path: Path) -> None:
        data = self._read(0, layout.HEADER.size)
        if len(data) != layout.HEADER.size:
            raise UnusableInput(f"{path}: no file of the plugin: it is too short")
        magic, version, _, flags, counts_ram, _, _, _, _, moved, events, *rest = layout.HEADER.unpack(data)
        if (magic, version) != (layout.MAGIC, layout.LAYOUT_VERSION):
            raise UnusableInput(f"{path}: no file of the plugin, or of another version")
        counts, places = rest[: len(Section)], rest[len(Section) :]
        self._counts = dict(zip(Section, counts, strict=True))
        self._places = layout.offsets()
        if places != list(self._places.values()):
            raise UnusableInput(f"{path}: damaged: its sections lie elsewhere")
        for section, (most, _size) in layout.SIZES.items():
            if self._counts[section] > most:
                raise UnusableInput(f"{path}: damaged: {self._counts[section]} records of {section.name}, and at most {most} fit")
        self._events = events
        self._trails: dict[int, list[Block]] = {}  # by CPU
        self._moved = moved if counts_ram else 0
        self.is_whole = not flags & layout.FULL
        self._has_all_halves = not flags & layout.HALVES_LOST

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    @property
    def began_at_reset(self) -> bool:
        """Return whether the machine began at its reset: else memory had been written before."""
        found = self._record(Section.BLOCKS, 1, layout.BLOCK)
        return found is not None and found[0] == _RESET_VECTOR

    @property
    def is_empty(self) -> bool:
        """Return whether no code was executed by QEMU itself: it lets the host's processor do it."""
        return not self._counts[Section.BLOCKS]

    @property
    def is_of_one_cpu(self) -> bool:
        """Return whether one CPU alone has executed anything: no store can have come between another and the look at what it left."""
        return bool(self._counts[Section.TRAILS] == 1)

    def word(self, phys: int) -> Word | None:
        """Return who wrote the aligned 8 bytes that hold ``phys`` last; None if no instruction that is recorded did."""
        phys &= -QWORD
        number = self._page_number(phys - self._moved if phys >= FOUR_GIB else phys)
        if number is None:
            return None
        index = phys % PAGE_BYTES // QWORD
        found = self._record(Section.SLOTS, number, layout.SLOT, index * layout.SLOT.size)
        slot = found[0] if found else 0
        store = self._store(slot & layout.SLOT_STORE)
        if store is None:
            return None
        before, after = self._values(int(self._pages["values"][number - 1]), index)
        part = _PARTS.get(slot & ~layout.SLOT_STORE, Part.WHOLE)
        if part is Part.WHOLE:
            return Word(phys, store, before, after)
        half = self._record(Section.HALVES, int(self._pages["halves"][number - 1]), layout.SLOT, index * layout.SLOT.size)
        other = self._store(half[0]) if half else None
        is_known = other is not None or self._has_all_halves and not (half and half[0])
        return Word(phys, store, before, after, part, other, is_known)

    def events(self) -> Iterator[Event]:
        """Yield what shaped the switch, as far as the file keeps it, in order."""
        kept = self._counts[Section.EVENTS]
        for number in range(max(self._events - kept, 0), self._events) if kept else ():
            found = self._record(Section.EVENTS, number % kept + 1, layout.EVENT)
            if found is None or not 0 < found[3] < len(layout.EVENTS):
                continue
            rip, moment, cpu, kind, call, is_exact = found
            _, is_cut = self._calls(call)
            yield Event(rip, cpu, layout.EVENTS[kind], moment, self._instructions(moment, cpu), bool(is_exact), is_cut)

    def blocks(self, cpu: int) -> Iterator[Block]:
        """Yield the last blocks that a CPU has entered, the oldest first."""
        if cpu not in self._trails:
            self._trails[cpu] = [*self._trail(cpu)]
        yield from self._trails[cpu]

    def _trail(self, cpu: int) -> Iterator[Block]:
        head = self._record(Section.TRAILS, cpu + 1, layout.TRAIL_HEAD)
        if head is None:
            return
        size, most = layout.TRAIL_ENTRY.size, min(head[0], layout.TRAIL_LENGTH)
        whole = self._read(self._at(Section.TRAILS, cpu + 1) + layout.TRAIL_HEAD.size, most * size)
        entries = [*layout.TRAIL_ENTRY.iter_unpack(whole[: len(whole) // size * size])]
        begin = max(head[0] - len(entries), 0)
        known: dict[int, tuple[int, ...] | None] = {}
        for place in range(begin, min(head[0], begin + len(entries))):
            number, times = entries[place % len(entries)]
            if number not in known:  # code in a loop is entered again and again
                known[number] = self._record(Section.BLOCKS, number, layout.BLOCK)
            block = known[number]
            if block is not None:
                first, last, _, last_size = block
                yield Block(first, last, last + last_size, times)

    @cached_property
    def _pages(self) -> npt.NDArray[np.void]:
        count = min(self._counts[Section.PAGES], self._counts[Section.SLOTS])
        data = self._read(self._places[Section.PAGES], count * _PAGE.itemsize)
        return np.frombuffer(data[: len(data) // _PAGE.itemsize * _PAGE.itemsize], _PAGE)

    def _page_number(self, phys: int) -> int | None:
        if phys < 0:  # of a file that counts otherwise than any QEMU does
            return None
        found = np.flatnonzero(self._pages["phys"] == np.uint64(phys & -PAGE_BYTES))
        return int(found[0]) + 1 if len(found) else None

    def _values(self, number: int, index: int) -> tuple[int | None, int | None]:
        if not 0 < number <= self._counts[Section.VALUES]:
            return None, None
        data = self._read(self._at(Section.VALUES, number), layout.VALUES_BYTES)
        if len(data) != layout.VALUES_BYTES:
            return None, None
        known = [data[at + index // 8] >> index % 8 & 1 for at in (layout.HAS_BEFORE_AT, layout.HAS_AFTER_AT)]
        values = [layout.VALUE.unpack_from(data, at + index * layout.VALUE.size)[0] for at in (0, layout.AFTER_AT)]
        return (values[0] if known[0] else None), (values[1] if known[1] else None)

    def _store(self, number: int) -> Store | None:
        found = self._record(Section.STORES, number, layout.STORE)
        instruction = None if found is None else self._record(Section.INSTRUCTIONS, found[0], layout.INSTRUCTION)
        if found is None or instruction is None:
            return None
        _, call, moment, cpu = found
        return Store(instruction[0], cpu, moment, self._instructions(moment, cpu), self._calls(call)[0])

    def _calls(self, number: int) -> tuple[tuple[Call, ...], bool]:
        """The newest first, up to an interrupt; and whether there was one."""
        calls: list[Call] = []
        while number and len(calls) < limits.WRITER_CALLS:
            found = self._record(Section.CALLS, number, layout.CALL)
            if found is None:
                break
            virt, parent, size, is_interrupt = found
            if is_interrupt:
                return tuple(calls), True
            calls.append(Call(virt, virt + size))
            if parent >= number:  # a call is recorded after the one in which it was made
                break
            number = parent
        return tuple(calls), False

    def _instructions(self, moment: int, cpu: int) -> int | None:
        found = self._record(Section.MOMENTS, moment, layout.MOMENT)
        return found[0] if found and found[2] == cpu else None

    def _at(self, section: Section, number: int) -> int:
        return self._places[section] + (number - 1) * layout.SIZES[section][1]

    def _record(self, section: Section, number: int, form: struct.Struct, inside: int = 0) -> tuple[int, ...] | None:
        """None if the section has no such record."""
        if not 0 < number <= self._counts[section]:
            return None
        data = self._read(self._at(section, number) + inside, form.size)
        return form.unpack(data) if len(data) == form.size else None

    def _read(self, at: int, length: int) -> bytes:
        try:
            return os.pread(self._descriptor, length, at)
        except OSError:
            return b""
