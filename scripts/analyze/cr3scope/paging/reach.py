"""Every table page that the walk can reach, level by level, each page once.

A page belongs to the level at which the walk from the top first meets it, so that the recursive
slot and any cycle end where they lead back.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cr3scope.arrays import I64, U64, Mask, integers
from cr3scope.dataclass import dataclass
from cr3scope.paging.canonical import LEVELS
from cr3scope.paging.tables import Tables, root_entries, table_entries
from cr3scope.x86 import entry as bits
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CpuState


_MOST_OF_A_LEVEL = 1 << 15  # of one level


@dataclass(frozen=True, slots=True)
class Stage:
    """The tables of one level: where each lies, the first address met, and the entries."""

    form: bits.EntryFormat
    depth: int  # of the whole tree
    phys: U64
    virt: U64
    entries: U64  # one row for each table

    @property
    def present(self) -> Mask:
        """Return which entries have P."""
        return self.has(bits.PRESENT)

    @property
    def leaves(self) -> Mask:
        """Return which present entries map a page; the other present ones point to a table."""
        if self.form.is_last:
            return self.present
        return self.present & self.has(bits.LARGE) if self.form.takes_ps else self.has(0)

    def has(self, mask: int) -> Mask:
        """Return which entries have any bit of ``mask``."""
        found: Mask = self.entries & np.uint64(mask) != 0
        return found

    def places(self, chosen: Mask) -> Iterator[tuple[EntryRef, int]]:
        """Yield the chosen entries, in order, each with the first address that it translates."""
        rows, indices = np.nonzero(chosen)
        first = self.first_addresses(rows, indices)
        for row, index, virt in zip(integers(rows), integers(indices), integers(first)):
            yield EntryRef.of(self.form, int(self.phys[row]), index, int(self.entries[row, index])), virt

    def first_addresses(self, rows: I64, indices: I64) -> U64:
        """Return the first address that each of some entries translates, in canonical form."""
        virt = self.virt[rows] + indices.astype(np.uint64) * np.uint64(self.form.page_bytes)
        return sign_extended(virt, self.depth)


def sign_extended(virt: U64, depth: int) -> U64:
    """Return addresses of 48 bits, or of 57 with five levels, in canonical form (SDM volume 1, 3.3.7.1).

    With fewer than four levels addresses have 32 bits, and stay as they are.
    """
    if depth < LEVELS:
        return virt
    top = np.uint64(1) << np.uint64(bits.level_shift(depth) + 8)
    extended: U64 = (virt & ((top << np.uint64(1)) - np.uint64(1)) ^ top) - top
    return extended


def stages(tables: Tables, cpu: CpuState) -> Iterator[Stage]:
    """Yield the table pages level by level, from the top one down.

    An entry that has a reserved bit is followed all the same.
    """
    root = root_entries(tables, cpu)
    if root is None:
        return
    top, *below = bits.formats_of(cpu)
    met = {cpu.root}
    first = np.array([cpu.root], dtype=np.uint64)
    stage = Stage(top, cpu.levels, first, np.zeros(1, dtype=np.uint64), root[np.newaxis, :])
    yield stage
    for form in below:
        rows, indices = np.nonzero(stage.present & ~stage.leaves)
        targets = stage.entries[rows, indices] & np.uint64(bits.ADDRESS_MASK)
        targets, at = np.unique(targets, return_index=True)
        kept: list[tuple[int, int]] = []
        pages: list[U64] = []
        for target, position in zip(integers(targets[:_MOST_OF_A_LEVEL]), integers(at)):
            page = None if target in met else table_entries(tables, form, target)
            if page is not None:
                kept.append((target, position))
                pages.append(page)
        if not pages:
            return
        met.update(target for target, _ in kept)
        pointer = np.array([position for _, position in kept], dtype=np.int64)
        stage = Stage(
            form,
            stage.depth,
            np.array([target for target, _ in kept], dtype=np.uint64),
            stage.first_addresses(rows[pointer], indices[pointer]),
            np.stack(pages),
        )
        yield stage
