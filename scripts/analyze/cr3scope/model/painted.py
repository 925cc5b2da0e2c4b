"""Which of many ranges counts at an address: painted once, in the order of their rank, then looked up.

Takes n log n of the ranges, however they lie in and over one another.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from cr3scope.arrays import I64, U64, integers
from cr3scope.model.intent import Named
from cr3scope.x86.entry import PAGE_BYTES, PAGE_FRAME
from cr3scope.x86.word import MASK64

if TYPE_CHECKING:
    import numpy.typing as npt


_Number = TypeVar("_Number", np.int64, np.uint64)

NOBODY = -1
_LAST = np.uint64(MASK64)


class Painted:
    """Named ranges by address; of those that cover one, the first in their order counts."""

    def __init__(self, ordered: Iterable[Named]) -> None:
        self.named = [named for named in ordered if named.virt <= named.last and named.virt <= MASK64]
        first, last = bounds(self.named)
        self._edges: U64 = edges_of(first, last[last < _LAST] + np.uint64(1))
        begin, end = np.searchsorted(self._edges, first), np.searchsorted(self._edges, last, side="right")
        self._owner = painted(begin, end, len(self._edges))

    def at(self, virt: int) -> Named | None:
        """Return the range that counts at ``virt``; None if none covers it."""
        edges, owners = self._lists
        owner = owners[bisect_right(edges, virt) - 1] if edges and virt >= edges[0] else NOBODY
        return None if owner == NOBODY else self.named[owner]

    def columns(self) -> tuple[U64, U64, I64]:
        """Return the inclusive parts of the address space in which one range counts, in order, and the number of that
        range in ``named``.
        """
        if not len(self._edges):
            return self._edges, self._edges, self._owner
        starts = np.flatnonzero(np.concatenate([[True], self._owner[1:] != self._owner[:-1]]))
        following = self._edges[starts[1:]]
        last = np.concatenate([following - np.uint64(1), [_LAST]])
        taken = self._owner[starts] != NOBODY
        return self._edges[starts][taken], last[taken], self._owner[starts][taken]

    def parts(self) -> list[tuple[int, int, Named]]:
        """Return the inclusive parts of the address space in which one range counts, in order."""
        first, last, owner = map(integers, self.columns())
        return [(start, end, self.named[number]) for start, end, number in zip(first, last, owner, strict=True)]

    @cached_property
    def _lists(self) -> tuple[list[int], list[int]]:
        return integers(self._edges), integers(self._owner)


class Merged:
    """The addresses that some of many inclusive ranges hold; what lies beyond 64 bits is none."""

    def __init__(self, first: U64, last: U64) -> None:
        order = np.argsort(first, kind="stable")
        order = order[first[order] <= last[order]]
        first, last = first[order], last[order]
        reached = np.maximum.accumulate(last)
        is_apart = (first[1:] > reached[:-1]) & (first[1:] - reached[:-1] > np.uint64(1))
        starts = np.flatnonzero(np.concatenate([[True], is_apart])) if len(first) else np.empty(0, dtype=np.intp)
        self.first = first[starts]
        self.last = reached[np.concatenate([starts[1:], [len(first)]]).astype(np.intp) - 1] if len(first) else last

    @classmethod
    def of(cls, ranges: Iterable[tuple[int, int]]) -> Merged:
        """Return those of pairs of numbers."""
        known = [(first, min(last, MASK64)) for first, last in ranges if first <= last and first <= MASK64]
        first, last = np.array(known, dtype=np.uint64).reshape(-1, 2).T
        return cls(first, last)

    def __contains__(self, address: int) -> bool:
        row = int(np.searchsorted(self.first, np.uint64(address), side="right")) - 1
        return row >= 0 and address <= int(self.last[row])

    def touches(self, first: U64, last: U64) -> npt.NDArray[np.bool_]:
        """Return which of some inclusive ranges have an address in common with these."""
        begun = np.searchsorted(self.first, last, side="right")
        return begun > np.searchsorted(self.last, first, side="left")


class Overlaps:
    """Named ranges, asked which of them have an address of an inclusive range."""

    def __init__(self, named: Sequence[Named]) -> None:
        self._named = named
        self._first, self._last = bounds(named)

    def overlapping(self, first: int, last: int) -> list[Named]:
        """Return them, in their order."""
        return [self._named[number] for number in integers(np.flatnonzero(self._mask(first, last)))]

    def has_any(self, *ranges: tuple[int, int]) -> bool:
        """Return whether one of them has an address of each of the ranges."""
        return bool(np.logical_and.reduce([self._mask(first, last) for first, last in ranges]).any())

    def _mask(self, first: int, last: int) -> npt.NDArray[np.bool_]:
        mask: npt.NDArray[np.bool_] = (self._first <= np.uint64(min(last, MASK64))) & (
            self._last >= np.uint64(min(first, MASK64))
        )
        return mask


def edges_of(*columns: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
    """Return the numbers of all columns, in order, each once.

    The one place for it: mypy takes seconds for each call of ``unique`` around one of ``concatenate``.
    """
    together: npt.NDArray[_Number] = np.concatenate(columns)
    return np.unique(together)


def bounds(named: Sequence[Named]) -> tuple[U64, U64]:
    """Return the first and the last address of each, at most 64 bits of them."""
    return _column([one.virt for one in named]), _column([one.last for one in named])


def _column(addresses: list[int]) -> U64:
    try:
        return np.array(addresses, dtype=np.uint64)
    except OverflowError:
        return np.array([min(address, MASK64) for address in addresses], dtype=np.uint64)


def page_edges(named: Sequence[Named]) -> list[int]:
    """Return the beginnings of the pages in which some range begins, or behind which one ends, in order."""
    first, last = bounds(named)
    frame = np.uint64(PAGE_FRAME & MASK64)
    return integers(edges_of(first & frame, last + np.uint64(PAGE_BYTES) & frame))


def painted(begin: I64, end: I64, count: int) -> I64:
    """Return for each of ``count`` intervals the number of the first range that covers it, or NOBODY.

    A range covers the intervals from ``begin`` up to ``end``, excluded.
    """
    order = np.argsort(begin, kind="stable")
    widths = (end - begin)[order]
    if (widths >= 0).all() and (end[order][:-1] <= begin[order][1:]).all():
        owner = np.full(count, NOBODY, dtype=np.int64)
        behind = np.cumsum(widths)
        owner[np.arange(behind[-1] if len(behind) else 0) + np.repeat(begin[order] - behind + widths, widths)] = np.repeat(order, widths)
        return owner
    return _painted(integers(begin), integers(end), count)


def painted_over(begin: I64, end: I64, count: int) -> I64:
    """Return the same where the last range that covers an interval counts."""
    backwards = painted(begin[::-1], end[::-1], count)
    return np.where(backwards == NOBODY, NOBODY, len(begin) - 1 - backwards)


def _painted(begin: Sequence[int], end: Sequence[int], count: int) -> I64:
    """Of ranges that overlap: each interval is painted once, and then skipped."""
    owner = [NOBODY] * count
    following = list(range(count + 1))  # the next interval that is not painted, as far as known
    for number, (at, stop) in enumerate(zip(begin, end, strict=True)):
        at = _unpainted(following, at)
        while at < stop:
            owner[at] = number
            following[at] = at + 1
            at = _unpainted(following, at + 1)
    return np.array(owner, dtype=np.int64)


def _unpainted(following: list[int], at: int) -> int:
    while following[at] != at:
        following[at] = following[following[at]]
        at = following[at]
    return at
