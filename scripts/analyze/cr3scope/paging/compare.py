"""Where two address spaces differ in what they map, and with which rights and memory type.

The size of the pages is no difference: a 2 MiB page and 512 pages of 4 KiB that map the same do the
same. What one of the two does not tell is no difference either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cr3scope.arrays import U64, integers
from cr3scope.dataclass import dataclass
from cr3scope.paging.effective import RIGHT_EXECUTE, RIGHT_USER, RIGHT_WRITE, Mappings

if TYPE_CHECKING:
    import numpy.typing as npt

_RIGHTS = RIGHT_WRITE | RIGHT_EXECUTE | RIGHT_USER
_ALL_CACHE_BITS = 7


@dataclass(frozen=True, slots=True)
class Tells:
    """What is known of an address space beside which addresses it maps.

    ``rights`` is a mask. They are a bound if they are those of the leaves alone: an entry above may
    deny more. ``cache_bits`` is a mask of the PAT index; ``types`` if the PAT itself is known too.
    """

    rights: int = int(_RIGHTS)
    is_bound: bool = False
    frames: bool = True
    cache_bits: int = _ALL_CACHE_BITS
    types: bool = True


@dataclass(frozen=True, slots=True)
class Space:
    """One side of a comparison, a row for each range.

    ``cache`` holds PAT indices, or the memory types where these are known.
    """

    first: U64
    last: U64
    phys: U64
    rights: U64
    cache: U64
    tells: Tells


@dataclass(frozen=True, slots=True)
class Difference:
    """A range that the two do not map alike; a row number is None where that side maps nothing."""

    first: int
    last: int
    left_row: int | None
    right_row: int | None


@dataclass(slots=True)
class _Side:
    """What one side has in each of the pieces into which both are cut."""

    row: npt.NDArray[np.int64]
    rights: U64
    cache: U64
    distance: U64  # physical minus virtual address, which stays the same over contiguous frames

    def same_as_before(self) -> npt.NDArray[np.bool_]:
        """Return for every piece but the first whether it is like the one before it."""
        same: npt.NDArray[np.bool_] = (self.row[1:] < 0) == (self.row[:-1] < 0)
        for column in (self.rights, self.cache, self.distance):
            same &= column[1:] == column[:-1]
        return same


def differences(left: Mappings, right: Mappings) -> list[Difference]:
    """Return every differing range in the order of addresses, neighbours of one kind joined."""
    return space_differences(space_of(left), space_of(right))


def space_of(side: Mappings, types: bool = True) -> Space:
    """Return mappings as a side to compare; of cache bits it has the PAT indices alone unless ``types``."""
    cache = side.pat_indices.astype(np.uint64)
    if types:
        fields = [side.pat >> 8 * index & 0xFF for index in range(8)]
        cache = np.array(fields, dtype=np.uint64)[cache.astype(np.intp)]
    rights = side.attributes.astype(np.uint64) & _RIGHTS
    return Space(side.first, side.last, side.phys, rights, cache, Tells(types=types))


def space_differences(left: Space, right: Space) -> list[Difference]:
    """Return every differing range, in the order of addresses, in what both sides tell."""
    one = np.uint64(1)
    edges = [side.first for side in (left, right)]
    edges += [side.last + one for side in (left, right)]  # past the last address of all this is 0
    starts = np.unique(np.concatenate(edges))
    if not len(starts):
        return []
    lasts = np.append(starts[1:] - one, ~np.uint64(0))
    mine, other = _cut(left, starts), _cut(right, starts)
    differs = _differs(mine, other, left.tells, right.tells)
    joins = np.zeros(len(starts), dtype=np.bool_)
    joins[1:] = differs[1:] & differs[:-1] & mine.same_as_before() & other.same_as_before()
    begins = np.flatnonzero(differs & ~joins)
    # The range goes on as long as pieces join.
    breaks = np.append(np.flatnonzero(~joins), len(starts))
    ends = breaks[np.searchsorted(breaks, begins, side="right")] - 1
    return [
        Difference(
            int(starts[begin]), int(lasts[end]), _known(mine.row[begin]), _known(other.row[begin])
        )
        for begin, end in zip(integers(begins), integers(ends))
    ]


def _cut(side: Space, starts: U64) -> _Side:
    nothing = np.zeros_like(starts)
    if not len(side.first):
        return _Side(np.full(len(starts), -1), nothing, nothing, nothing)
    row = np.searchsorted(side.first, starts, side="right") - 1
    there = (row >= 0) & (starts <= side.last[row])

    def of_row(column: U64) -> U64:
        return np.where(there, column[row], np.uint64(0))

    distance = of_row(side.phys - side.first) if side.tells.frames else nothing
    return _Side(np.where(there, row, -1), of_row(side.rights), of_row(side.cache), distance)


def _differs(mine: _Side, other: _Side, left: Tells, right: Tells) -> npt.NDArray[np.bool_]:
    """Of each piece, by what both tell."""
    changed = mine.rights ^ other.rights
    if left.is_bound != right.is_bound:
        # The leaf's own right may be denied above it; one that the leaf denies cannot be granted.
        changed &= other.rights if left.is_bound else mine.rights
    common = np.uint64(left.rights & right.rights)
    differs: npt.NDArray[np.bool_] = changed & common != 0
    cache = np.uint64(left.cache_bits & right.cache_bits)
    if left.types and right.types:
        differs |= mine.cache != other.cache
    else:
        differs |= (mine.cache ^ other.cache) & cache != 0
    if left.frames and right.frames:
        differs |= mine.distance != other.distance
    differs &= (mine.row >= 0) & (other.row >= 0)
    differs |= (mine.row < 0) != (other.row < 0)
    return differs


def _known(row: np.int64) -> int | None:
    return int(row) if row >= 0 else None
