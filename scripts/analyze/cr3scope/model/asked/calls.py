"""The ``map`` records as columns: which call counts for a page, and which one it overwrote."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from cr3scope.arrays import I64, Mask, integers
from cr3scope.dataclass import dataclass
from cr3scope.model.intent import Intent, Named
from cr3scope.model.painted import NOBODY, bounds, edges_of, painted_over
from cr3scope.paging.effective import RIGHT_EXECUTE, RIGHT_USER, RIGHT_WRITE
from cr3scope.paging.range_kind import MEMORY_TYPES
from cr3scope.x86.entry import PAGE_BYTES, PAGE_SHIFT, level_bytes
from cr3scope.x86.word import MASK64


_NO_FRAME = 1 << 62  # frame minus page, of a range whose frame nobody told
_LARGE_PAGES = (level_bytes(2), level_bytes(3))
_MOST_OVERWRITES = 64
_TYPES = tuple(MEMORY_TYPES.values())


@dataclass(frozen=True, slots=True)
class Overwrite:
    """A later ``map`` call that maps what an earlier one had mapped; inclusive range."""

    earlier: int  # numbers of ``map`` records
    later: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for each of some ranges."""

    call: I64
    segment: I64
    rights: I64
    type: I64
    is_elsewhere: Mask
    is_not_as_loaded: Mask


class Calls:
    """All that was asked for, by page."""

    def __init__(self, intent: Intent) -> None:
        first, end = _page_columns(intent.maps, [record.size for record in intent.boot.maps])
        self._maps = first, end
        self._segments = [_pages(segment, PAGE_BYTES) for segment in intent.segments]
        more = [bound for pages in self._segments for bound in pages]
        self.edges: I64 = edges_of(first, end, np.array(more, dtype=np.int64))
        # One more interval behind the last edge, and none before the first: NOBODY.
        self._call = np.full(len(self.edges) + 1, NOBODY, dtype=np.int64)
        self._segment = self._call.copy()
        self.overwrites: tuple[Overwrite, ...] = ()
        begin, end = np.searchsorted(self.edges, first), np.searchsorted(self.edges, end)
        self._call[:-1] = painted_over(begin, end, len(self.edges))
        order = np.argsort(begin, kind="stable")
        if (end[order][:-1] > begin[order][1:]).any():
            self._note_overwrites(integers(begin), integers(end))
        for number, pages in enumerate(self._segments):
            self._segment[self._slice(pages)] = number
        self._segment_rights = np.zeros(len(self.edges) + 1, dtype=np.int64)
        for named, pages in zip(intent.segments, self._segments):
            self._segment_rights[self._slice(pages)] |= right_bits(named.rights or "")
        self._map_offset = _offsets(intent.maps)
        self._segment_offset = _offsets(intent.segments)
        self._map_rights = _column([right_bits(named.rights or "") for named in intent.maps])
        self._map_type = _column([_type_number(record.type) for record in intent.boot.maps])

    def at(self, first: I64, frame: I64) -> Asked:
        """Return what was asked for pages ``first``, mapped to ``frame``.

        Nothing changes inside the range of each.
        """
        interval = np.searchsorted(self.edges, first, side="right") - 1
        call, segment = self._call[interval], self._segment[interval]
        is_asked, is_loaded = call != NOBODY, segment != NOBODY
        offset = self._map_offset[call]
        rights = np.where(is_asked, self._map_rights[call], 0)
        by_file = self._segment_rights[interval] | rights & int(RIGHT_USER)
        return Asked(
            call,
            segment,
            np.where(is_loaded, by_file, rights),
            np.where(is_asked, self._map_type[call], NOBODY),
            is_asked & (offset != _NO_FRAME) & (first + offset != frame),
            is_loaded & ~self._is_as_loaded(first, frame),
        )

    @staticmethod
    def type_numbers(types: Sequence[str]) -> I64:
        """Return the names of memory types as numbers, as in ``Asked.type``."""
        return _column([_type_number(name) for name in types])

    def _is_as_loaded(self, first: I64, frame: I64) -> Mask:
        is_right = np.zeros(len(first), dtype=np.bool_)
        for pages, offset in zip(self._segments, integers(self._segment_offset)):
            here = (first >= pages[0]) & (first < pages[1])
            is_right |= here & ((first + offset == frame) | (offset == _NO_FRAME))
        return is_right

    def _note_overwrites(self, begin: Sequence[int], end: Sequence[int]) -> None:
        """Later calls over earlier ones, the first few: until there are so many, each costs what lies below it."""
        found: list[Overwrite] = []
        call = np.full(len(self.edges), NOBODY, dtype=np.int64)
        for number, part in enumerate(map(slice, begin, end)):
            before = call[part]
            if (before != NOBODY).any():
                for earlier in integers(np.unique(before[before != NOBODY]))[: _MOST_OVERWRITES - len(found)]:
                    first, stop = (int(column[[number, earlier]].max()) for column in (self._maps[0], -self._maps[1]))
                    last = (-stop << PAGE_SHIFT) - 1
                    found.append(Overwrite(earlier, number, first << PAGE_SHIFT, last))
                if len(found) == _MOST_OVERWRITES:
                    break
            call[part] = number
        self.overwrites = tuple(found)

    def _slice(self, pages: tuple[int, int]) -> slice:
        start, end = integers(np.searchsorted(self.edges, np.array(pages, dtype=np.int64)))
        return slice(start, end)


@lru_cache(maxsize=64)
def right_bits(letters: str) -> int:
    """Return the bits of ``rwxu``-style letters; reading is granted by any mapping."""
    told = ((RIGHT_WRITE, "w"), (RIGHT_EXECUTE, "x"), (RIGHT_USER, "u"))
    return sum(int(bit) for bit, letter in told if letter in letters)


def _pages(named: Named, size: int) -> tuple[int, int]:
    """Page numbers of a range, the end exclusive, rounded to the pages it was mapped with."""
    shift = PAGE_SHIFT if size not in _LARGE_PAGES else size.bit_length() - 1
    large = shift - PAGE_SHIFT
    return named.virt >> shift << large, ((named.last >> shift) + 1) << large


def _page_columns(named: Sequence[Named], sizes: Sequence[int]) -> tuple[I64, I64]:
    """The same of many ranges."""
    first, last = bounds(named)
    size = np.array(sizes, dtype=np.int64)
    large = np.zeros(len(size), dtype=np.uint64)
    for page in _LARGE_PAGES:
        large[size == page] = page.bit_length() - 1 - PAGE_SHIFT
    shift = large + np.uint64(PAGE_SHIFT)
    return (first >> shift << large).astype(np.int64), ((last >> shift) + np.uint64(1) << large).astype(np.int64)


def _offsets(ranges: Sequence[Named]) -> I64:
    """Frame minus page of each range; _NO_FRAME where the two are not congruent. One more at the end: see `_column`."""
    virt, _ = bounds(ranges)
    phys = np.array([~one.virt & MASK64 if one.phys is None else one.phys & MASK64 for one in ranges], dtype=np.uint64)
    shift = np.uint64(PAGE_SHIFT)
    offset: I64 = (phys >> shift).astype(np.int64) - (virt >> shift).astype(np.int64)
    offset[(phys ^ virt) % np.uint64(PAGE_BYTES) != 0] = _NO_FRAME
    return np.append(offset, NOBODY)


@lru_cache(maxsize=64)
def _type_number(name: str) -> int:
    return _TYPES.index(name) if name in _TYPES else NOBODY


def _column(values: Sequence[int]) -> I64:
    """Never empty, so that NOBODY is a valid index; what it yields there is not used."""
    return np.array([*values, NOBODY], dtype=np.int64)
