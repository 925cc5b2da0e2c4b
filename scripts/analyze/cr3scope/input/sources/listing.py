"""What a text lists of an address space: ranges, and how much it tells of them.

Such a text holds no tables, so nothing can be walked: what it does not print stays unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from cr3scope.arrays import I64, U64
from cr3scope.dataclass import dataclass
from cr3scope.paging.compare import Space, Tells
from cr3scope.paging.effective import RIGHT_EXECUTE, RIGHT_USER, RIGHT_WRITE
from cr3scope.paging.range_kind import page_sizes
from cr3scope.x86.cpu_state import PagingMode

if TYPE_CHECKING:
    import numpy.typing as npt

UTF_16 = b"\xff\xfe"  # before a text that PowerShell redirected to a file
_LETTERS = (("w", RIGHT_WRITE), ("x", RIGHT_EXECUTE), ("u", RIGHT_USER))
# Bits of a row's cache column, where the PAT index of a leaf has them (SDM 3A, 5.9.2).
CACHE_PWT, CACHE_PCD = np.uint64(1), np.uint64(2)
_CACHE_NAMES = ((CACHE_PCD, "PCD"), (CACHE_PWT, "PWT"))


@dataclass(frozen=True, slots=True)
class Form:
    """A format: its name, what its lines tell, and in ``gaps`` what they cannot, in words."""

    name: str
    tells: Tells
    levels: bool  # whether the size of the pages shows
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """Pages or ranges as the lines of a text give them; unknown are level 0 and all of ``phys``."""

    first: U64
    last: U64
    phys: U64
    rights: U64
    levels: U64
    cache: U64

    def at(self, chosen: I64 | npt.NDArray[np.bool_]) -> Rows:
        """Return the chosen rows alone."""
        return Rows(
            self.first[chosen], self.last[chosen], self.phys[chosen], self.rights[chosen],
            self.levels[chosen], self.cache[chosen],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Listing:
    """Ranges in the order of their addresses.

    ``notes`` and ``losses`` are for a person, one line each; with losses, what is not listed may be
    mapped all the same. ``mode``: the one that tells the sizes of pages.
    """

    form: Form
    rows: Rows
    notes: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    mode: PagingMode = PagingMode.LEVELS_4

    def __len__(self) -> int:
        return len(self.rows.first)

    @property
    def description(self) -> str:
        """Return in words what this is."""
        return f"listing of {self.form.name}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what cannot be seen here, one line each."""
        return (*self.form.gaps, *self.notes, *self.losses)

    def with_notes(self, more: Iterable[str]) -> Listing:
        """Return the same listing with further notes."""
        return replace(self, notes=(*self.notes, *more))

    @property
    def page_bytes(self) -> tuple[int, ...]:
        """Return how much a leaf of each level maps, by the number of the level."""
        return page_sizes(self.mode)

    @property
    def is_deep(self) -> bool:
        """Return whether an address lies where only five levels reach."""
        return bool((self.rows.first + _HALF_OF_FOUR >= _HALF_OF_FOUR * np.uint64(2)).any())

    @property
    def space(self) -> Space:
        """Return the listing as a side of a comparison."""
        rows = self.rows
        return Space(rows.first, rows.last, rows.phys, rows.rights, rows.cache, self.form.tells)

    def row_of(self, virt: int) -> int | None:
        """Return the number of the range that holds an address; None if none does."""
        row = int(np.searchsorted(self.rows.first, np.uint64(virt), side="right")) - 1
        return row if row >= 0 and virt <= int(self.rows.last[row]) else None

    def rights(self, row: int) -> str:
        """Return ``rwxu``, with ``-`` for what is denied and ``?`` for what the text does not tell."""
        return rights_text(self.form.tells, int(self.rows.rights[row]))

    def level(self, row: int) -> int | None:
        """Return the level of a row's leaves; None if the text does not tell."""
        return int(self.rows.levels[row]) or None

    def phys_at(self, row: int, virt: int) -> int | None:
        """Return where an address of the range lies; None if the text does not tell."""
        if not self.form.tells.frames:
            return None
        return int(self.rows.phys[row]) + virt - int(self.rows.first[row])

    def cache_bits(self, row: int) -> str | None:
        """Return those of PCD and PWT that are set; None if the text does not tell."""
        if not self.form.tells.cache_bits:
            return None
        return cache_text(int(self.rows.cache[row]))


_HALF_OF_FOUR = np.uint64(1 << 47)


def rights_text(tells: Tells, rights: int) -> str:
    """Return rights in the style of ``rw?u``."""
    letters = (
        (letter if rights & int(bit) else "-") if tells.rights & int(bit) else "?"
        for letter, bit in _LETTERS
    )
    return "r" + "".join(letters)


def cache_text(bits: int) -> str:
    """Return ``PCD PWT``, or ``-`` for neither."""
    return " ".join(name for bit, name in _CACHE_NAMES if bits & int(bit)) or "-"


def merged(form: Form, rows: Rows, notes: Sequence[str], losses: Sequence[str]) -> Listing:
    """Return a listing of rows, neighbours that are alike joined.

    ``rows`` are in order; one that reaches into the next is damaged, and left out.
    """
    reaches = np.append(rows.last[:-1] >= rows.first[1:], False)
    losses = list(losses)
    if reaches.any():
        first = int(rows.first[int(np.flatnonzero(reaches)[0])])
        losses.append(
            f"{int(reaches.sum())} ranges reach into the next one and are left out; the first:"
            f" {first:#x}"
        )
        rows = rows.at(~reaches)
    one = np.uint64(1)
    size = rows.last[:-1] - rows.first[:-1] + one
    joined = rows.first[1:] == rows.last[:-1] + one
    for column in (rows.rights, rows.levels, rows.cache):
        joined &= column[1:] == column[:-1]
    if form.tells.frames:
        joined &= rows.phys[1:] == rows.phys[:-1] + size
    starts = np.flatnonzero(np.append(True, ~joined)[: len(rows.first)])
    ends = np.append(starts[1:], len(rows.first))[: len(starts)] - 1
    ranges = replace(rows.at(starts), last=rows.last[ends])
    return Listing(form, ranges, tuple(notes), tuple(losses))
