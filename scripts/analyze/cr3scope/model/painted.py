"""Which of many ranges counts at an address: painted once, in the order of their rank, then looked up.

Takes n log n of the ranges, however they lie in and over one another.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from cr3scope.model.intent import Named
from cr3scope.x86.word import MASK64

NOBODY = -1


class Painted:
    """Named ranges by address; of those that cover one, the first in their order counts."""

    def __init__(self, ordered: Iterable[Named]) -> None:
        self._named = [named for named in ordered if named.virt <= min(named.last, MASK64)]
        first = np.array([named.virt for named in self._named], dtype=np.uint64)
        last = np.array([min(named.last, MASK64) for named in self._named], dtype=np.uint64)
        edges = np.unique(np.concatenate([first, last[last < np.uint64(MASK64)] + np.uint64(1)]))
        begin, end = np.searchsorted(edges, first), np.searchsorted(edges, last, side="right")
        self._edges: list[int] = edges.tolist()
        self._owner = painted(begin.tolist(), end.tolist(), len(edges))

    def at(self, virt: int) -> Named | None:
        """Return the range that counts at ``virt``; None if none covers it."""
        owner = self._owner[bisect_right(self._edges, virt) - 1] if self._edges else NOBODY
        return None if owner == NOBODY or virt < self._edges[0] else self._named[owner]

    def parts(self) -> list[tuple[int, int, Named]]:
        """Return the inclusive parts of the address space in which one range counts, in order."""
        found: list[tuple[int, int, Named]] = []
        ends = [edge - 1 for edge in (*self._edges[1:], MASK64 + 1)][: len(self._edges)]
        before = NOBODY
        for first, last, owner in zip(self._edges, ends, self._owner, strict=True):
            if owner != NOBODY and owner == before:
                found[-1] = found[-1][0], last, found[-1][2]
            elif owner != NOBODY:
                found.append((first, last, self._named[owner]))
            before = owner
        return found


class Merged:
    """The addresses that some of many inclusive ranges hold; what lies beyond 64 bits is none."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        merged: list[tuple[int, int]] = []
        for first, last in sorted(each for each in ranges if each[0] <= min(each[1], MASK64)):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = merged[-1][0], max(merged[-1][1], min(last, MASK64))
            else:
                merged.append((first, min(last, MASK64)))
        self.first = np.array([first for first, _ in merged], dtype=np.uint64)
        self.last = np.array([last for _, last in merged], dtype=np.uint64)

    def touches(self, first: npt.NDArray[np.uint64], last: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Return which of some inclusive ranges have an address in common with these."""
        begun = np.searchsorted(self.first, last, side="right")
        return begun > np.searchsorted(self.last, first, side="left")


class Overlaps:
    """Named ranges, asked which of them have an address of an inclusive range."""

    def __init__(self, named: Sequence[Named]) -> None:
        self._named = named
        self._first = np.array([min(one.virt, MASK64) for one in named], dtype=np.uint64)
        self._last = np.array([min(one.last, MASK64) for one in named], dtype=np.uint64)

    def overlapping(self, first: int, last: int) -> list[Named]:
        """Return them, in their order."""
        return [self._named[number] for number in np.flatnonzero(self._mask(first, last)).tolist()]

    def has_any(self, *ranges: tuple[int, int]) -> bool:
        """Return whether one of them has an address of each of the ranges."""
        return bool(np.logical_and.reduce([self._mask(first, last) for first, last in ranges]).any())

    def _mask(self, first: int, last: int) -> npt.NDArray[np.bool_]:
        mask: npt.NDArray[np.bool_] = (self._first <= np.uint64(min(last, MASK64))) & (
            self._last >= np.uint64(min(first, MASK64))
        )
        return mask


def painted(begin: Sequence[int], end: Sequence[int], count: int) -> list[int]:
    """Return for each of ``count`` intervals the number of the first range that covers it, or NOBODY.

    A range covers the intervals from ``begin`` up to ``end``, excluded. Each interval is painted once, and then skipped.
    """
    owner = [NOBODY] * count
    following = list(range(count + 1))  # the next interval that is not painted, as far as known
    for number, (at, stop) in enumerate(zip(begin, end, strict=True)):
        at = _unpainted(following, at)
        while at < stop:
            owner[at] = number
            following[at] = at + 1
            at = _unpainted(following, at + 1)
    return owner


def painted_over(begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Return the same where the last range that covers an interval counts."""
    most = len(begin) - 1
    backwards = painted(begin[::-1].tolist(), end[::-1].tolist(), count)
    return np.array([NOBODY if owner == NOBODY else most - owner for owner in backwards], dtype=np.int64)


def _unpainted(following: list[int], at: int) -> int:
    while following[at] != at:
        following[at] = following[following[at]]
        at = following[at]
    return at
