"""Where two address spaces differ in what they map, and with which rights and memory type.

The size of the pages is no difference: a 2 MiB page and 512 pages of 4 KiB that map the same do the
same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cr3scope.paging.effective import U64, Mappings

_RIGHTS = np.uint64(7)
_ABSENT = np.uint64(0xFFFF)


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
    meaning: U64  # rights and memory type, or _ABSENT
    distance: U64  # physical minus virtual address, which stays the same over contiguous frames


def differences(left: Mappings, right: Mappings) -> list[Difference]:
    """Every differing range in the order of addresses, neighbours of one kind joined."""
    one = np.uint64(1)
    edges = [side.first for side in (left, right)]
    edges += [side.last + one for side in (left, right)]  # past the last address of all this is 0
    starts = np.unique(np.concatenate(edges))
    if not len(starts):
        return []
    lasts = np.append(starts[1:] - one, ~np.uint64(0))
    mine, other = _cut(left, starts), _cut(right, starts)
    differs = (mine.meaning != other.meaning) | (mine.distance != other.distance)
    joins = np.zeros(len(starts), dtype=np.bool_)
    joins[1:] = differs[1:] & differs[:-1] & _same_as_before(mine) & _same_as_before(other)
    begins = np.flatnonzero(differs & ~joins)
    # The range goes on as long as pieces join.
    breaks = np.append(np.flatnonzero(~joins), len(starts))
    ends = breaks[np.searchsorted(breaks, begins, side="right")] - 1
    return [
        Difference(
            int(starts[begin]), int(lasts[end]), _known(mine.row[begin]), _known(other.row[begin])
        )
        for begin, end in zip(begins.tolist(), ends.tolist())
    ]


def _cut(side: Mappings, starts: U64) -> _Side:
    if not len(side):
        absent = np.full(len(starts), _ABSENT, dtype=np.uint64)
        return _Side(np.full(len(starts), -1), absent, np.zeros_like(starts))
    row = np.searchsorted(side.first, starts, side="right") - 1
    there = (row >= 0) & (starts <= side.last[row])
    types = np.array([side.pat >> 8 * index & 0xFF for index in range(8)], dtype=np.uint64)
    attributes = side.attributes[row]
    meaning = attributes & _RIGHTS | types[side.pat_indices[row].astype(np.intp)] << np.uint64(3)
    distance = side.phys[row] - side.first[row]
    return _Side(
        np.where(there, row, -1),
        np.where(there, meaning, _ABSENT),
        np.where(there, distance, np.uint64(0)),
    )


def _same_as_before(side: _Side) -> npt.NDArray[np.bool_]:
    same: npt.NDArray[np.bool_] = (side.meaning[1:] == side.meaning[:-1]) & (
        side.distance[1:] == side.distance[:-1]
    )
    return same


def _known(row: np.int64) -> int | None:
    return int(row) if row >= 0 else None
