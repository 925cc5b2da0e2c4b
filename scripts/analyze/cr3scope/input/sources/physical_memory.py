"""Physical memory that lies in a file, as runs of contiguous bytes."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cr3scope.arrays import Data
from cr3scope import limits
from cr3scope.paging.tables import Entries
from cr3scope.x86.entry import ENTRIES, PAGE_BYTES

_COMPARED = 1 << 20  # bytes that are compared at once


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

    Runs may overlap: a core that was written with paging lists a page once for each mapping. ValueError if two of
    them hold different bytes for one address.
    """

    def __init__(self, data: Data, runs: Sequence[Run]) -> None:
        self._data = data
        self._runs: list[Run] = []
        self._starts: list[int] = []
        compared = 0
        for run in sorted(runs, key=lambda run: (run.phys, run.length, run.offset)):
            covered = self._runs[-1].end if self._runs else 0
            done = min(max(covered - run.phys, 0), run.length)
            if done:
                compared += self._compare(run, done, limits.CORE_COMPARED_BYTES - compared)
            if done < run.length:
                self._append(Run(run.phys + done, run.length - done, run.offset + done))

    def _append(self, run: Run) -> None:
        last = self._runs[-1] if self._runs else None
        if last is not None and last.end == run.phys and last.offset + last.length == run.offset:
            self._runs[-1] = Run(last.phys, last.length + run.length, last.offset)
        else:
            self._runs.append(run)
            self._starts.append(run.phys)

    def _compare(self, run: Run, length: int, most: int) -> int:
        """Raise ValueError unless ``length`` bytes of ``run`` are those that are there; return what that cost, in bytes."""
        cost, done = 0, 0
        number = self._number(run.phys)
        while done < length:
            there = self._runs[number]
            own, other = run.offset + done, there.offset + run.phys + done - there.phys
            part = min(length - done, there.end - run.phys - done)
            if own != other:
                part = min(part, _COMPARED)
                cost += max(part, PAGE_BYTES)
                if cost > most or self._data[own : own + part] != self._data[other : other + part]:
                    words = "too often to compare" if cost > most else "with different bytes"
                    raise ValueError(f"the memory at {run.phys + done:#x} lies in the file twice, {words}")
            done += part
            number += run.phys + done >= there.end
        return cost

    def _number(self, phys: int) -> int:
        """The run that holds the address, if any does; -1 if all lie above it."""
        return bisect.bisect_right(self._starts, phys) - 1

    def physical(self, phys: int, length: int) -> bytes:
        """Return as many bytes as the runs hold without a hole."""
        data = bytearray()
        number = max(self._number(phys), 0)
        while len(data) < length and number < len(self._runs):
            run, at = self._runs[number], phys + len(data)
            if not run.phys <= at < run.end:
                break
            start = run.offset + at - run.phys
            data += self._data[start : start + min(length - len(data), run.end - at)]
            number += 1
        return bytes(data)

    def table(self, phys: int) -> Entries | None:
        """Return the entries at ``phys``; None unless the runs hold the whole page."""
        number = self._number(phys)
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
