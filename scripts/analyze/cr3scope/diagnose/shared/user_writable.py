"""What user code can write: pages below entries that all have P, R/W and U."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.paging.tables import Tables, root_entries, table_entries
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import PRESENT, USER, WRITABLE, formats_of

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
    top, *below = formats_of(cpu)
    waiting, seen = [(cpu.root, (top, *below))], {cpu.root}
    for _ in range(limits.AUDIT_TABLES):
        if not waiting:
            return
        phys, (form, *rest) = waiting.pop()
        entries = root_entries(tables, cpu) if phys == cpu.root and form is top else table_entries(tables, form, phys)
        if entries is None:
            continue
        wanted = np.uint64(_ALL if form.has_rights else PRESENT)
        for index in np.flatnonzero(entries & wanted == wanted):
            value = int(entries[index])
            place = form.frame(value) & (1 << cpu.max_phys_bits) - 1
            if form.is_leaf(value):
                yield Window(EntryRef.of(form, phys, int(index), value), place, form.page_bytes)
            elif rest and place not in seen:
                seen.add(place)
                waiting.append((place, tuple(rest)))
