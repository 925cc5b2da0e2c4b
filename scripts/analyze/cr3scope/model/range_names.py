"""What a trace says mapped ranges are: the names of its `map`, `region`, `segment`, `image` and `memory` records.

Of several names for a page the narrowest counts, of equals the one that was mapped last. A name holds for the
bytes that the trace gave it, and for no others.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from cr3scope.arrays import I64, U64, integers
from cr3scope.dataclass import dataclass
from cr3scope.model.intent import Intent, Named
from cr3scope.paging.effective import Mappings
from cr3scope.x86.entry import PAGE_BYTES
from cr3scope.x86.word import MASK64


@dataclass(frozen=True, slots=True)
class Piece:
    """A name and the bytes that it is given to."""

    name: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class RangeName:
    """What a mapped range is: names in the order of their addresses.

    ``is_whole``: every byte of the range has one of them. ``by_frame``: nobody named the address, but what
    lies in its frames.
    """

    pieces: tuple[Piece, ...]
    is_whole: bool
    by_frame: bool = False


@dataclass(frozen=True, slots=True)
class RangeNames:
    """The names of all rows of some mappings: for each row its place in ``names``, -1 where it has none."""

    names: tuple[RangeName, ...]
    of_row: I64


def range_names(found: Mappings, intent: Intent, is_planned: bool = True) -> RangeNames:
    """Return what each row is.

    Unless the tables are the ``is_planned`` ones, the names of images alone apply: the firmware maps these at
    their own address.
    """
    meant = [*intent.images, *intent.segments, *intent.tables, *intent.regions, *intent.maps]
    by_address = _Lookup(_flattened(meant if is_planned else intent.images))
    by_frame = _Lookup(_flattened(_in_frames(intent.maps) if is_planned else ()))
    names: dict[RangeName, int] = {}
    of_row = np.full(len(found), -1, dtype=np.int64)
    ends = found.phys + (found.last - found.first)
    for lookup, first, last in ((by_address, found.first, found.last), (by_frame, found.phys, ends)):
        for row in integers(np.flatnonzero((of_row < 0) & lookup.touches(first, last))):
            name = lookup.name(int(first[row]), int(last[row]))
            if name is not None and lookup is by_frame:
                name = replace(name, by_frame=True) if name.is_whole else None
            if name is not None:
                of_row[row] = names.setdefault(name, len(names))
    return RangeNames(tuple(names), of_row)


def _in_frames(maps: Iterable[Named]) -> Iterator[Named]:
    """Each mapping at its physical address."""
    for named in maps:
        if named.phys is not None:
            yield replace(named, virt=named.phys, last=named.phys + named.size - 1)


class _Lookup:
    """Pieces in order, none of which overlaps another, by address."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces
        self._first: U64 = np.array([piece.first for piece in pieces], dtype=np.uint64)
        self._last: U64 = np.array([piece.last for piece in pieces], dtype=np.uint64)

    def touches(self, first: U64, last: U64) -> np.typing.NDArray[np.bool_]:
        """Return which ranges have a named byte."""
        return np.searchsorted(self._last, first) < np.searchsorted(self._first, last, side="right")

    def name(self, first: int, last: int) -> RangeName | None:
        """Return what an inclusive range is, as far as it is named at all."""
        begin = int(np.searchsorted(self._last, np.uint64(first)))
        end = int(np.searchsorted(self._first, np.uint64(last), side="right"))
        inside = [replace(piece, first=max(piece.first, first), last=min(piece.last, last))
                  for piece in self._pieces[begin:end]]  # fmt: skip
        if not inside:
            return None
        gaps = [after.first - before.last for before, after in zip(inside, inside[1:], strict=False)]
        is_whole = inside[0].first == first and inside[-1].last == last and all(gap == 1 for gap in gaps)
        if not is_whole:
            return RangeName(tuple(inside), False)
        names = dict.fromkeys(piece.name for piece in inside)
        return RangeName(tuple(Piece(name, first, last) for name in names), True)


def _flattened(named: Iterable[Named]) -> list[Piece]:
    """The name that counts of each byte, in pieces: later names stand above earlier ones of equal pages."""
    order = [each for each in named if each.name and each.last <= MASK64]
    starts = sorted(range(len(order)), key=lambda number: order[number].virt)
    bounds = sorted({each.virt for each in order} | {each.last + 1 for each in order})
    open_: list[tuple[int, int]] = []  # pages, and the negative number of the name
    pieces: list[Piece] = []
    coming = 0
    for first, end in zip(bounds, bounds[1:], strict=False):
        while coming < len(starts) and order[starts[coming]].virt <= first:
            heapq.heappush(open_, (_pages(order[starts[coming]]), -starts[coming]))
            coming += 1
        while open_ and order[-open_[0][1]].last < first:
            heapq.heappop(open_)
        if not open_:
            continue
        name, before = order[-open_[0][1]].name, pieces[-1] if pieces else None
        if before is not None and before.name == name and before.last + 1 == first:
            pieces[-1] = replace(before, last=end - 1)
        else:
            pieces.append(Piece(name, first, end - 1))
    return pieces


def _pages(named: Named) -> int:
    """How many pages a range touches: a segment that fills its last page in part is as wide as its mapping."""
    return named.last // PAGE_BYTES - named.virt // PAGE_BYTES + 1
