"""Every table page that the walk can reach, level by level, each page once.

A page belongs to the level at which the walk from the top first meets it, so that the recursive
slot and any cycle end where they lead back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cr3scope.arrays import integers
from cr3scope.paging.tables import Tables
from cr3scope.x86 import entry as bits
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CpuState

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_MOST_OF_A_LEVEL = 1 << 15  # of one level


@dataclass(frozen=True, slots=True)
class Stage:
    """The table pages of one level: where each lies, the first address met, and the entries."""

    level: int
    depth: int  # of the whole tree: 4 or 5
    phys: U64
    virt: U64
    entries: U64  # one row of 512 for each page

    @property
    def present(self) -> Mask:
        """Return which entries have P."""
        return self.has(bits.PRESENT)

    @property
    def leaves(self) -> Mask:
        """Return which present entries map a page; the other present ones point to a table."""
        if self.level == 1:
            return self.present
        return self.present & self.has(bits.LARGE) if self.level <= 3 else self.has(0)

    def has(self, mask: int) -> Mask:
        """Return which entries have any bit of ``mask``."""
        found: Mask = self.entries & np.uint64(mask) != 0
        return found

    def places(self, chosen: Mask) -> Iterator[tuple[EntryRef, int]]:
        """Yield the chosen entries, in order, each with the first address that it translates."""
        rows, indices = np.nonzero(chosen)
        first = self.first_addresses(rows, indices)
        for row, index, virt in zip(integers(rows), integers(indices), integers(first)):
            phys = int(self.phys[row]) + bits.ENTRY_BYTES * index
            yield EntryRef(self.level, index, phys, int(self.entries[row, index])), virt

    def first_addresses(self, rows: I64, indices: I64) -> U64:
        """Return the first address that each of some entries translates, in canonical form."""
        span = np.uint64(bits.level_bytes(self.level))
        virt = self.virt[rows] + indices.astype(np.uint64) * span
        # Sign-extended from bit 47, or 56 with five levels (SDM volume 1, 3.3.7.1).
        top = np.uint64(1) << np.uint64(bits.level_shift(self.depth) + 8)
        extended: U64 = (virt & ((top << np.uint64(1)) - np.uint64(1)) ^ top) - top
        return extended


def stages(tables: Tables, cpu: CpuState) -> Iterator[Stage]:
    """Yield the table pages level by level, from the top one down.

    An entry that has a reserved bit is followed all the same.
    """
    root = tables.table(cpu.root)
    if root is None:
        return
    met = {cpu.root}
    first = np.array([cpu.root], dtype=np.uint64)
    stage = Stage(cpu.levels, cpu.levels, first, np.zeros(1, dtype=np.uint64), root[np.newaxis, :])
    while True:
        yield stage
        if stage.level == 1:
            return
        rows, indices = np.nonzero(stage.present & ~stage.leaves)
        targets = stage.entries[rows, indices] & np.uint64(bits.ADDRESS_MASK)
        targets, at = np.unique(targets, return_index=True)
        kept: list[tuple[int, int]] = []
        pages: list[U64] = []
        for target, position in zip(integers(targets[:_MOST_OF_A_LEVEL]), integers(at)):
            page = None if target in met else tables.table(target)
            if page is not None:
                kept.append((target, position))
                pages.append(page)
        if not pages:
            return
        met.update(target for target, _ in kept)
        pointer = np.array([position for _, position in kept], dtype=np.int64)
        stage = Stage(
            stage.level - 1,
            stage.depth,
            np.array([target for target, _ in kept], dtype=np.uint64),
            stage.first_addresses(rows[pointer], indices[pointer]),
            np.stack(pages),
        )
