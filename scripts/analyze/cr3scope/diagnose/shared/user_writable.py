"""What user code can write: pages below entries that all have P, R/W and U."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cr3scope import limits
from cr3scope.paging.tables import Tables
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import ADDRESS_MASK, ENTRY_BYTES, PRESENT, USER, WRITABLE, is_leaf, level_bytes

_ALL = PRESENT | WRITABLE | USER


@dataclass(frozen=True, slots=True)
class Window:
    """One page that user code can write: ``size`` bytes from ``phys`` on."""

    leaf: EntryRef
    phys: int
    size: int


def user_windows(tables: Tables, cpu: CpuState) -> Iterator[Window]:
    """Yield the pages that every entry on the way gives to user code for writing, within a budget of tables.

    Nothing of tables that cannot be read. Tables that are met twice are looked at once.
    """
    waiting, seen = [(cpu.root, cpu.levels)], {cpu.root}
    for _ in range(limits.AUDIT_TABLES):
        if not waiting:
            return
        phys, level = waiting.pop()
        entries = tables.table(phys)
        if entries is None:
            continue
        for index in np.flatnonzero(entries & np.uint64(_ALL) == np.uint64(_ALL)):
            value = int(entries[index])
            place = value & ADDRESS_MASK & (1 << cpu.max_phys_bits) - 1
            if is_leaf(value, level):
                size = level_bytes(level)
                yield Window(EntryRef(level, int(index), phys + int(index) * ENTRY_BYTES, value), place & -size, size)
            elif place not in seen:
                seen.add(place)
                waiting.append((place, level - 1))
