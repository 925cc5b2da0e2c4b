"""Physical memory that lies in a file, as runs of contiguous bytes."""

from __future__ import annotations

import bisect
import mmap
from collections.abc import Iterator, Sequence
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

    @property
    def end(self) -> int:
        """The address behind the last byte."""
        return self.phys + self.length


class PhysicalMemory:
    """Table pages read straight from memory.

    Runs may overlap: a core that was written with paging lists a page once for each mapping.
    """

    def __init__(self, data: Data, runs: Sequence[Run]) -> None:
        self._data = data
        self._runs = list(_disjoint(runs))
        self._starts = [run.phys for run in self._runs]

    def table(self, phys: int) -> Entries | None:
        """The entries at ``phys``; None unless the runs hold the whole page."""
        number = bisect.bisect_right(self._starts, phys) - 1
        if number < 0:
            return None
        run = self._runs[number]
        if phys + PAGE_BYTES <= run.end:
            page, offset = self._data, run.offset + phys - run.phys
        else:
            joined = self._joined(number, phys)
            if joined is None:
                return None
            page, offset = joined, 0
        entries = np.frombuffer(page, dtype="<u8", count=ENTRIES, offset=offset)
        return entries.astype(np.uint64, copy=False)

    def _joined(self, number: int, phys: int) -> bytes | None:
        """A page that goes on from run ``number`` into the following ones."""
        page = b""
        for run in self._runs[number:]:
            at = phys + len(page)
            if not run.phys <= at < run.end:
                return None
            start = run.offset + at - run.phys
            page += self._data[start : start + min(PAGE_BYTES - len(page), run.end - at)]
            if len(page) == PAGE_BYTES:
                return page
        return None


def _disjoint(runs: Sequence[Run]) -> Iterator[Run]:
    """The runs in order, each without what the ones before it hold already."""
    covered = 0
    for run in sorted(runs):
        done = max(covered - run.phys, 0)
        if done < run.length:
            yield Run(run.phys + done, run.length - done, run.offset + done)
            covered = run.end
