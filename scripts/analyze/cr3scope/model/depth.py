"""Tables that were made for another number of levels than the CPU walks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from cr3scope.arrays import integers
from cr3scope.dataclass import dataclass
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import Translation, access, walk
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CR4_LA57, CpuState
from cr3scope.x86.entry import PAGE_BYTES, PRESENT, is_leaf, level_bytes
from cr3scope.x86.platform import Platform


@dataclass(frozen=True, slots=True)
class Crossing:
    """A switch: the tables in memory, the CPU's state before it and after it."""

    tables: Tables
    before: CpuState
    after: CpuState
    platform: Platform

    def levels_that_fit(self, virt: int) -> int | None:
        """Return the depth for which the new tables were made, if the code at ``virt`` tells that it is the other one.

        Walked with one level more or less they map it where the current tables map it, and nothing near it
        is if they are walked as the CPU does. The second is needed: a page directory that maps by 2 MiB
        pages from 0 on, read one level higher, is one that maps by 1 GiB pages from 0 on. Outside long mode there is no
        other depth.
        """
        if self.after.has_short_addresses:
            return None
        other = replace(self.after, cr4=self.after.cr4 ^ CR4_LA57)
        found = access(self.tables, other, virt, AccessKind.FETCH, platform=self.platform)
        if not isinstance(found, Translation) or found.phys != self._now_at(virt):
            return None
        if any(self._is_carried_over(near) for near in self._neighbours(virt)):
            return None
        return other.levels

    def _neighbours(self, virt: int) -> Iterator[int]:
        """What the other entries of the tables on the way to ``virt`` map. Never address 0: read at whatever
        depth, the first entries of tables for low memory lead to its beginning."""
        for entry in walk(self.tables, self.after, virt, self.platform).entries:
            table = self.tables.table(entry.phys & -PAGE_BYTES)
            size = level_bytes(entry.level)
            first = (virt & -size) - entry.index * size
            for index, value in enumerate(() if table is None else integers(table)):
                at = first + index * size
                if value & PRESENT and is_leaf(value, entry.level) and at:
                    yield at

    def _is_carried_over(self, virt: int) -> bool:
        phys = walk(self.tables, self.after, virt, self.platform).phys
        return phys is not None and phys == self._now_at(virt)

    def _now_at(self, virt: int) -> int | None:
        return walk(self.tables, self.before, virt, self.platform).phys
