"""Mends as the verdict's JSON names them, carried out: which words of memory that writes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from cr3scope.input.capture.records import Boot
from cr3scope.model.changes import Change
from cr3scope.paging.tables import Entries, Tables
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import (
    ADDRESS_MASK,
    ENTRIES,
    ENTRY_BYTES,
    NO_EXECUTE,
    PAGE_BYTES,
    PRESENT,
    USER,
    WRITABLE,
    is_leaf,
    level_index,
)

Mend = Mapping[str, Any]

MAP = "map"
# Of each rule that proposes mends the row whose mends are made in a guest, by its injection.
TRIED = {
    "nx-upper-level": "nx-upper-level",
    "nx-leaf-code": "nx-leaf-code",
    "identity-missing-trampoline": "identity-missing-trampoline:pd",
    "code-unmapped": "code-unmapped:pml4",
    "idt-unmapped": "idt-unmapped:int3",
    "gdt-unmapped": "gdt-unmapped:int3",
    "handler-unmapped": "handler-unmapped:int3",
    "stack-unmapped": "stack-unmapped",
    "stack-readonly": "stack-readonly",
    "upper-level-readonly": "upper-level-readonly",
    "reserved-bits": "reserved-bits:stack-pdpt",
    "smep-smap-user-bit": "smep-smap-user-bit:smap",
    "boot-info-unmapped": "boot-info-unmapped:memory-map",
    "framebuffer-unmapped": "framebuffer-unmapped",
    "shared-page-permissions": "shared-page-permissions",
}

_CONVENTIONAL = 7  # EfiConventionalMemory (UEFI 2.10, 7.2)
_LOW = 1 << 20
_CLEARED = {Change.CLEAR_NX: NO_EXECUTE, Change.CLEAR_USER: USER}
_SET = {Change.SET_WRITABLE: WRITABLE, Change.SET_PRESENT: PRESENT}


class Mended:
    """Tables with mends on top; what lies below stays as it is.

    ``written`` are the words that were changed, by their physical addresses; ``added`` the new tables among
    them, which are to be zero elsewhere; ``mapped`` the frames by the pages that they were given. ``free``: pages
    for tables.
    """

    def __init__(self, base: Tables, cpu: CpuState, free: Iterable[int]) -> None:
        self._base, self._cpu, self._free = base, cpu, iter(free)
        self.written: dict[int, int] = {}
        self.added: list[int] = []
        self.mapped: dict[int, int] = {}

    def table(self, phys: int) -> Entries | None:
        """Return the 512 entries at ``phys`` as mended so far; None where the tables below have none."""
        below = np.zeros(ENTRIES, np.uint64) if phys in self.added else self._base.table(phys)
        changed = {at: value for at, value in self.written.items() if at & -PAGE_BYTES == phys}
        if below is None or not changed:
            return below
        entries = below.copy()
        for at, value in changed.items():
            entries[at % PAGE_BYTES // ENTRY_BYTES] = np.uint64(value)
        return entries

    def carry_out(self, mends: Iterable[Mend]) -> None:
        """Make the changes; AssertionError for one that does not do what its name says to what is there."""
        for mend in mends:
            if mend["change"] == MAP:
                first, last = (int(bound, 0) for bound in mend["range"])
                assert first % PAGE_BYTES == 0 and (last + 1) % PAGE_BYTES == 0 and first < last, mend
                for virt in range(first, last, PAGE_BYTES):
                    self._map(virt, int(mend["phys"], 0) + virt - first, mend["rights"])
            else:
                self._edit(Change(mend["change"]), mend)

    def _edit(self, change: Change, mend: Mend) -> None:
        at, told = int(mend["entry"]["phys"], 0), int(mend["entry"]["value"], 0)
        there, value = self._word(at), int(mend["value"], 0)
        assert there in (told, value), f"{mend}: there is {there:#x}"
        if change is Change.CLEAR_RESERVED:
            assert value & ~told == 0, mend
        else:
            assert value == told & ~_CLEARED.get(change, 0) | _SET.get(change, 0), mend
        self.written[at] = value

    def _map(self, virt: int, frame: int, rights: str) -> None:
        """As a loader would: with a table for each that is missing."""
        table = self._cpu.root
        for level in range(self._cpu.levels, 1, -1):
            at = table + ENTRY_BYTES * level_index(virt, level)
            entry = self._word(at)
            assert not is_leaf(entry, level) or not entry & PRESENT, f"{virt:#x} is mapped by {entry:#x}"
            if not entry & PRESENT:
                self.added.append(next(self._free))
                entry = self.written[at] = self.added[-1] | PRESENT | WRITABLE
            table = entry & ADDRESS_MASK
        self.mapped[virt] = frame
        value = frame | PRESENT | (WRITABLE if "w" in rights else 0)
        if "x" not in rights and self._cpu.has_nx:
            value |= NO_EXECUTE
        at = table + ENTRY_BYTES * level_index(virt, 1)
        there = self._word(at)
        assert not there & PRESENT or there == value, f"{virt:#x} is mapped by {there:#x}"
        self.written[at] = value

    def _word(self, at: int) -> int:
        entries = self.table(at & -PAGE_BYTES)
        assert entries is not None, f"no table has an entry at {at:#x}"
        return int(entries[at % PAGE_BYTES // ENTRY_BYTES])


def left_free(boot: Boot) -> Iterator[int]:
    """Yield pages that the loader left free, by the memory map that it hands over: the highest first."""
    used = {phys for dump in boot.dumps.values() for phys in dump.tables}
    for region in sorted(boot.memory_map, key=lambda region: -region.first):
        if region.type == _CONVENTIONAL and region.first >= _LOW:
            pages = range(region.last + 1 - PAGE_BYTES, region.first - 1, -PAGE_BYTES)
            yield from (page for page in pages if page not in used)
