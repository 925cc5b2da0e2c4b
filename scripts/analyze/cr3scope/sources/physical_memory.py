"""Physical memory that lies in a file, as runs of contiguous bytes."""

from __future__ import annotations

import bisect
import mmap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cr3scope.paging.entry import ENTRIES, PAGE_BYTES
from cr3scope.paging.tables import Entries

Data = bytes | mmap.mmap


@dataclass(frozen=True, slots=True, order=True)
class Run:
    """``length`` bytes of physical memory from ``phys`` on, at ``offset`` of the file."""

    phys: int
    length: int
    offset: int


class PhysicalMemory:
    """Table pages read straight from memory; where runs overlap, the one that begins last counts."""

    def __init__(self, data: Data, runs: Sequence[Run]) -> None:
        self._data = data
        self._runs = sorted(run for run in runs if run.length > 0)
        self._starts = [run.phys for run in self._runs]

    def table(self, phys: int) -> Entries | None:
        """The entries at ``phys``; None unless the whole page is in one run."""
        number = bisect.bisect_right(self._starts, phys) - 1
        if number < 0:
            return None
        run = self._runs[number]
        at = phys - run.phys
        if at + PAGE_BYTES > run.length:
            return None
        entries = np.frombuffer(self._data, dtype="<u8", count=ENTRIES, offset=run.offset + at)
        return entries.astype(np.uint64, copy=False)
