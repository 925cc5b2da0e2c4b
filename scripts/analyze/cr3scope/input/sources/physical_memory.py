"""Physical memory that lies in a file, as runs of contiguous bytes."""

from __future__ import annotations

import bisect
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cr3scope.paging.tables import Entries
from cr3scope.x86.entry import ENTRIES, PAGE_BYTES

Data = bytes | mmap.mmap


@dataclass(frozen=True, slots=True, order=True)
class Run:
    """``length`` bytes of physical memory from ``phys`` on, at ``offset`` of the file."""

    phys: int
    length: int
    offset: int

    @property
    def end(self) -> int:
        """Return the address behind the last byte."""
        return self.phys + self.length


class PhysicalMemory:
    """Table pages read straight from memory.

    Runs may overlap: a core that was written with paging lists a page once for each mapping.
    """

    def __init__(self, data: Data, runs: Sequence[Run]) -> None:
        self._data = data
        self._runs = list(_disjoint(runs))
        self._starts = [run.phys for run in self._runs]

    def physical(self, phys: int, length: int) -> bytes:
        """Return as many bytes as the runs hold without a hole."""
        data = b""
        number = bisect.bisect_right(self._starts, phys) - 1
        for run in self._runs[max(number, 0) :]:
            at = phys + len(data)
            if len(data) == length or not run.phys <= at < run.end:
                break
            start = run.offset + at - run.phys
            data += self._data[start : start + min(length - len(data), run.end - at)]
        return data

    def table(self, phys: int) -> Entries | None:
        """Return the entries at ``phys``; None unless the runs hold the whole page."""
        number = bisect.bisect_right(self._starts, phys) - 1
        if number < 0:
            return None
        run = self._runs[number]
        if phys + PAGE_BYTES <= run.end:
            page, offset = self._data, run.offset + phys - run.phys
        else:
            page, offset = self.physical(phys, PAGE_BYTES), 0
            if len(page) < PAGE_BYTES:
                return None
        entries = np.frombuffer(page, dtype="<u8", count=ENTRIES, offset=offset)
        return entries.astype(np.uint64, copy=False)


def _disjoint(runs: Sequence[Run]) -> Iterator[Run]:
    """The runs in order, each without what the ones before it hold already."""
    covered = 0
    for run in sorted(runs):
        done = max(covered - run.phys, 0)
        if done < run.length:
            yield Run(run.phys + done, run.length - done, run.offset + done)
            covered = run.end
