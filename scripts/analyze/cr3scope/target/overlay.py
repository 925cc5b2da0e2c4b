"""Page tables with changes on top: a model that can be mended without touching the dump."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cr3scope.arrays import integers
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import Reason
from cr3scope.x86.access import EntryRef
from cr3scope.x86.entry import ENTRY_BYTES, PAGE_BYTES, PAGE_FRAME, PAGE_OFFSET
from cr3scope.x86.word import FOUR_GIB, MASK64

if TYPE_CHECKING:
    import numpy.typing as npt

_ONES = np.uint64(MASK64)


class Overlay:
    """Copy-on-write tables. Added tables live at the top of physical memory, where nothing lies.

    An entry inside an added table stands for the missing entry above it: ``origin`` names that one,
    since it is what the loader forgot.
    """

    def __init__(self, base: Tables, max_phys_bits: int) -> None:
        self._base = base
        self._changed: dict[int, npt.NDArray[np.uint64]] = {}
        self._origins: dict[int, EntryRef] = {}  # added table -> the entry that was missing
        self._next_free = (1 << max_phys_bits) - PAGE_BYTES

    def table(self, phys: int) -> npt.NDArray[np.uint64] | None:
        """Return the 512 entries of the table page at ``phys``; None if it is not known."""
        changed = self._changed.get(phys)
        return changed if changed is not None else self._base.table(phys)

    def entry(self, entry: EntryRef) -> int:
        """Return the value of one entry; KeyError if its table is not known."""
        page = entry.phys & PAGE_FRAME
        table = self.table(page)
        if table is None:
            raise KeyError(page)
        return _value(table, entry)

    def set(self, entry: EntryRef, value: int) -> None:
        """Write one entry of a known table."""
        page = entry.phys & PAGE_FRAME
        table = self.table(page)
        if table is None:
            raise KeyError(page)
        table = table.astype("<u8")  # a copy: a fork may share it
        table.view(f"<u{entry.form.entry_bytes}")[_number(entry)] = value
        self._changed[page] = table

    def add_table(self, missing: EntryRef) -> int:
        """Make a new empty table in place of what ``missing`` should have pointed to, and return its physical
        address."""
        phys = min(self._next_free, FOUR_GIB - PAGE_BYTES) if missing.form.is_short else self._next_free
        while not self._is_free(phys):
            phys -= PAGE_BYTES
        self._next_free = phys - PAGE_BYTES
        self._changed[phys] = np.zeros(512, dtype=np.uint64)
        self._origins[phys] = self.origin(missing)
        return phys

    def _is_free(self, phys: int) -> bool:
        """No dump has a table there; a machine that runs answers with all bits alike where nothing is."""
        if phys in self._changed:
            return False
        table = self._base.table(phys)
        return table is None or not table.any() or bool((table == _ONES).all())

    def fork(self) -> Overlay:
        """Return a copy to try a mend on."""
        copy = Overlay(self._base, 0)
        copy.adopt(self)
        return copy

    def adopt(self, other: Overlay) -> None:
        """Take over all changes of a fork."""
        self._changed = dict(other._changed)
        self._origins = dict(other._origins)
        self._next_free = other._next_free

    def changes(self) -> Iterator[tuple[int, int]]:
        """Yield each entry that is not what the base has, or that the base does not have and is not zero: its physical
        address and its value."""
        for page, entries in self._changed.items():
            base = self._base.table(page)
            differs = entries != 0 if base is None or page in self._origins else entries != base
            for index in integers(np.flatnonzero(differs)):
                yield page + ENTRY_BYTES * index, int(entries[index])

    def leads_to_unknown(self, reason: Reason, entries: Iterable[EntryRef]) -> bool:
        """Return whether what refuses is an entry that was mended and leads to a table that was never dumped: it may
        hold anything."""
        return reason is Reason.TABLE_UNREADABLE and any(
            self.origin(entry).value != entry.value for entry in entries
        )

    def origin(self, entry: EntryRef) -> EntryRef:
        """Return the entry of the dump that this one stands for, with its value as dumped."""
        page = entry.phys & PAGE_FRAME
        if page in self._origins:
            return self._origins[page]
        dumped = self._base.table(page)
        if dumped is None:
            return entry
        return replace(entry, value=_value(dumped, entry))


def _value(page: npt.NDArray[np.uint64], entry: EntryRef) -> int:
    return int(page.astype("<u8", copy=False).view(f"<u{entry.form.entry_bytes}")[_number(entry)])


def _number(entry: EntryRef) -> int:
    """Which entry of its page this is: the four PDPTEs of PAE paging need not begin it."""
    return (entry.phys & PAGE_OFFSET) // entry.form.entry_bytes
