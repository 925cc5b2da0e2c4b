"""Which accesses the tables surely grant: many at once, so that only the others must be walked one by one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cr3scope import limits
from cr3scope.arrays import U64, integers
from cr3scope.paging.effective import RIGHT_EXECUTE, RIGHT_USER, RIGHT_WRITE, mappings
from cr3scope.paging.tables import Tables
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CR4_PKE, CR4_PKS, CR4_SMAP, CR4_SMEP, CpuState
from cr3scope.x86.platform import Platform

if TYPE_CHECKING:
    import numpy.typing as npt

_RIGHT = {AccessKind.READ: np.uint64(0), AccessKind.WRITE: RIGHT_WRITE, AccessKind.FETCH: RIGHT_EXECUTE}
_CHECKS = CR4_SMAP | CR4_SMEP  # what a supervisor may not do with a page of the user's

KINDS = tuple(AccessKind)
_MOST_PARTS = 64


def granted_by(tables: Tables, cpu: CpuState, platform: Platform) -> Granted:
    """Return what the tables grant, worked out once."""
    return _granted(tables, cpu, platform)  # type: ignore[arg-type]  # hashed by identity


@lru_cache(maxsize=1)
def _granted(tables: Tables, cpu: CpuState, platform: Platform) -> Granted:
    return Granted(tables, cpu, platform)


class Granted:
    """The mapped ranges, where each right of a supervisor holds."""

    def __init__(self, tables: Tables, cpu: CpuState, platform: Platform) -> None:
        found = mappings(tables, cpu, platform, limits.SCAN_RANGES)
        self._first, self._last = found.first, found.last
        self._rights = found.attributes
        self._ends = {kind: self._ends_of(kind, cpu) for kind in AccessKind}

    def _ends_of(self, kind: AccessKind, cpu: CpuState) -> npt.NDArray[np.uint64]:
        """Of each range the last address up to which neighbours grant ``kind``, too; before the range where it does not."""
        right = _RIGHT[kind]
        good = self._rights & right == right
        if cpu.cr4 & _CHECKS:
            good &= self._rights & RIGHT_USER == 0
        if cpu.cr4 & (CR4_PKE | CR4_PKS):
            good &= False
        joined = good[:-1] & good[1:] & (self._last[:-1] + np.uint64(1) == self._first[1:])
        following = np.flatnonzero(np.concatenate([~joined, [True]])) if len(good) else np.empty(0, dtype=np.intp)
        ends = self._last[following[np.searchsorted(following, np.arange(len(good)))]]
        return np.where(good, ends, np.uint64(0))

    def mapped(self, first: int, last: int) -> Iterator[int]:
        """Yield the first address of each mapped part of an inclusive range, a few of very many."""
        begin = int(np.searchsorted(self._last, np.uint64(first)))
        end = int(np.searchsorted(self._first, np.uint64(last), side="right"))
        for row in range(begin, min(end, begin + _MOST_PARTS)):
            yield max(int(self._first[row]), first)

    def not_all(self, kinds: npt.NDArray[np.int8], first: U64, last: U64) -> list[int]:
        """Return the numbers of those accesses to inclusive ranges that are not surely granted all over. ``kinds``: of
        each its number in ``KINDS``.
        """
        sure = np.zeros(len(kinds), dtype=np.bool_)
        if len(self._first):
            row = np.searchsorted(self._first, first, side="right") - 1
            for number, kind in enumerate(KINDS):
                here = (kinds == number) & (row >= 0)
                sure[here] = (self._last[row[here]] >= first[here]) & (self._ends[kind][row[here]] >= last[here])
        return integers(np.flatnonzero(~sure))
