"""Every mapped range beside the call that asked for it: unasked, elsewhere, stronger, other type.

Ranges are columns of page numbers, so that a range of 4 GiB costs no more than one page. Of two
``map`` calls for a page the last one counts, since it wrote the entry. Windows of the recursive
slot are no mappings that anybody asks for page by page: they are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from cr3scope import limits
from cr3scope.arrays import I64, Mask, integers
from cr3scope.dataclass import dataclass
from cr3scope.model.asked.calls import Calls, Overwrite, right_bits
from cr3scope.model.asked.window import promised_slots, window_of
from cr3scope.model.intent import Intent, Named
from cr3scope.model.painted import NOBODY, edges_of
from cr3scope.paging.effective import (
    RIGHT_EXECUTE,
    RIGHT_USER,
    RIGHT_WRITE,
    mappings,
)
from cr3scope.paging.range_kind import memory_types, rights_text
from cr3scope.paging.tables import Tables
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import ADDRESS_MASK, PAGE_SHIFT, PRESENT
from cr3scope.x86.platform import Platform

if TYPE_CHECKING:
    import numpy.typing as npt

_WRITE, _USER, _EXECUTE = int(RIGHT_WRITE), int(RIGHT_USER), int(RIGHT_EXECUTE)
_RIGHTS = _WRITE | _USER | _EXECUTE
_LEFT_OUT = f"what the tables map beside what was asked for, in more than {limits.SCAN_RANGES} ranges"


@dataclass(frozen=True, slots=True)
class Piece:
    """A mapped range, inclusive, alike all over; ``named`` is the call that counts for it."""

    virt: int
    last: int
    phys: int
    rights: str
    memory_type: str
    pat_index: int
    named: Named | None
    call: int  # its number among the boot's ``map`` records
    segment: Named | None

    @property
    def label(self) -> str:
        """Return what a person calls this range."""
        if self.named is not None:
            return self.named.label
        return self.segment.label if self.segment else "a range that nobody asked for"

    @property
    def role(self) -> str:
        """Return the role that its call gave this range; empty if there was no call."""
        return self.named.role if self.named else ""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """All mapped pages outside recursive windows, cut where anything about them changes."""

    intent: Intent
    has_nx: bool
    types: tuple[str, ...]  # by PAT index
    first: I64  # page numbers
    end: I64
    frame: I64
    rights: I64
    pat: I64
    call: I64  # number of the `map` record that counts, or NOBODY
    segment: I64  # number of a segment that touches the page, or NOBODY
    is_guard: Mask
    is_elsewhere: Mask
    is_not_as_loaded: Mask  # in no frame into which a segment of the page was loaded
    asked_rights: I64  # the segment's if the ELF file says, else the call's
    asked_type: I64  # a number that stands for the type's name, or NOBODY
    type: I64  # the same; NOBODY all over if the trace has no PAT (0 is no machine's)
    overwrites: tuple[Overwrite, ...]

    def unasked(self) -> Iterator[Piece]:
        """Yield the mapped ranges that no call and no segment asked for. A guard page has its own rule.

        A trace that names neither calls nor tables does not claim to tell of every mapping.
        """
        if not self.intent.maps or not self.intent.boot.tables:
            return iter(())
        return self.pieces((self.call == NOBODY) & (self.segment == NOBODY) & ~self.is_guard)

    def elsewhere(self) -> Iterator[Piece]:
        """Yield the pieces that are mapped to another frame than the call asked for, or than the segment was
        loaded to."""
        return self.pieces(self.is_elsewhere | self.is_not_as_loaded)

    def stronger(self) -> Iterator[tuple[Piece, str]]:
        """Yield the pieces that grant more than asked, and the letters of that."""
        return self._differing(self.rights & ~self.asked_rights)

    def weaker(self, letters: str) -> Iterator[tuple[Piece, str]]:
        """Yield the pieces that lack some of ``letters`` although the call asked for it."""
        return self._differing(self.asked_rights & ~self.rights & right_bits(letters))

    def other_type(self) -> Iterator[Piece]:
        """Yield the pieces with another memory type than the call asked for."""
        is_known = (self.asked_type != NOBODY) & (self.type != NOBODY)
        return self.pieces(is_known & (self.asked_type != self.type))

    def granting(self, letters: str, but: str = "") -> Mask:
        """Return which pieces have all of ``letters`` and none of ``but``."""
        wanted, unwanted = right_bits(letters), right_bits(but)
        mask: Mask = (self.rights & (wanted | unwanted)) == wanted
        return mask

    def of_role(self, role: str) -> Mask:
        """Return which pieces have a call that gave them ``role``."""
        numbers = [number for number, named in enumerate(self.intent.maps) if named.role == role]
        mask: Mask = np.isin(self.call, numbers)
        return mask

    def pieces(self, mask: Mask) -> Iterator[Piece]:
        """Yield the ranges under ``mask``, neighbours that differ in nothing joined."""
        rows = np.flatnonzero(mask)
        if not len(rows):
            return
        joined = np.ones(max(len(rows) - 1, 0), dtype=np.bool_)
        before, after = rows[:-1], rows[1:]
        joined &= self.end[before] == self.first[after]
        joined &= self.frame[before] - self.first[before] == self.frame[after] - self.first[after]
        for column in (self.rights, self.pat, self.call, self.segment):
            joined &= column[before] == column[after]
        starts = np.flatnonzero(np.concatenate([[True], ~joined]))
        ends = np.concatenate([starts[1:] - 1, [len(rows) - 1]])
        for start, end in zip(integers(rows[starts]), integers(rows[ends])):
            yield self._piece(start, end)

    def at_row(self, row: int) -> Piece:
        """Return the piece of one row."""
        return self._piece(row, row)

    def _differing(self, difference: I64) -> Iterator[tuple[Piece, str]]:
        difference = np.where((self.call == NOBODY) & (self.segment == NOBODY), 0, difference)
        if not self.has_nx:
            difference = difference & ~_EXECUTE
        for bits in integers(np.unique(difference[difference != 0])):
            letters = "".join(c for c in rights_text(bits)[1:] if c != "-")
            yield from ((piece, letters) for piece in self.pieces(difference == bits))

    def _piece(self, start: int, end: int) -> Piece:
        virt = int(self.first[start]) << PAGE_SHIFT
        call, segment = int(self.call[start]), int(self.segment[start])
        pat = int(self.pat[start])
        return Piece(
            virt,
            (int(self.end[end]) << PAGE_SHIFT) - 1,
            int(self.frame[start]) << PAGE_SHIFT,
            rights_text(int(self.rights[start])),
            self.types[pat],
            pat,
            None if call == NOBODY else self.intent.maps[call],
            call,
            None if segment == NOBODY else self.intent.segments[segment],
        )


def compare(
    tables: Tables | None, cpu: CpuState | None, intent: Intent, platform: Platform
) -> Comparison | None:
    """Return the comparison of one boot; None where there is nothing to compare.

    That is so without a dump, and with a CR3 or a depth that is not that of the tables: then every page
    differs, and the rules of that fault say so.
    """
    if tables is None or cpu is None or not _is_the_root(intent, cpu):
        return None
    top = tables.table(cpu.root)
    if top is None:
        return None
    ranges = mappings(_OwnTables(tables, intent), cpu, platform, limits.SCAN_RANGES)
    if ranges.is_cut:
        intent.left_out[_LEFT_OUT] = None
        return None
    row_first = (ranges.first >> np.uint64(PAGE_SHIFT)).astype(np.int64)
    row_end = (ranges.last >> np.uint64(PAGE_SHIFT)).astype(np.int64) + 1
    calls = Calls(intent)
    windows = _windows(top, cpu, intent)
    guards = [pages_of(region) for region in intent.regions if region.role == "guard"]
    cuts = [cut for window in (*windows, *guards) for cut in window]
    edges = edges_of(row_first, row_end, calls.edges, np.array(cuts, np.int64))
    if len(edges) < 2:
        return None
    starts = edges[:-1]
    row = np.searchsorted(row_first, starts, side="right") - 1
    kept = row >= 0
    kept[kept] = starts[kept] < row_end[row[kept]]
    kept &= ~_inside(starts, windows)
    first, end, row = starts[kept], edges[1:][kept], row[kept]
    frame = (ranges.phys >> np.uint64(PAGE_SHIFT)).astype(np.int64)[row] + first - row_first[row]
    asked = calls.at(first, frame)
    types = tuple(memory_types(ranges.pat))
    pat = ranges.pat_indices.astype(np.int64)[row]
    return Comparison(
        intent=intent,
        has_nx=cpu.has_nx,
        types=types,
        first=first,
        end=end,
        frame=frame,
        rights=ranges.attributes.astype(np.int64)[row] & _RIGHTS,
        pat=pat,
        call=asked.call,
        segment=asked.segment,
        is_guard=_inside(first, guards),
        is_elsewhere=asked.is_elsewhere,
        is_not_as_loaded=asked.is_not_as_loaded,
        asked_rights=asked.rights,
        asked_type=asked.type,
        type=calls.type_numbers(types)[pat] if cpu.pat else np.full(len(pat), NOBODY),
        overwrites=calls.overwrites,
    )


class _OwnTables:
    """The tables that the loader says it made: what lies behind others is nobody's word.

    So it is with garbage that is followed as a table, and with tables borrowed from the firmware.
    """

    def __init__(self, tables: Tables, intent: Intent) -> None:
        self._tables = tables
        self._made = {record.phys for record in intent.boot.tables}

    def table(self, phys: int) -> npt.NDArray[np.uint64] | None:
        """Return the entries of a table of the loader's own, None of any other.

        All are taken for its own if it named none.
        """
        return self._tables.table(phys) if not self._made or phys in self._made else None


def pages_of(named: Named) -> tuple[int, int]:
    """Return the first page number of a range, and the one behind it."""
    return named.virt >> PAGE_SHIFT, (named.last >> PAGE_SHIFT) + 1


def _is_the_root(intent: Intent, cpu: CpuState) -> bool:
    roots = [record for record in intent.boot.tables if record.parent == 0]
    return not roots or any(r.phys == cpu.root and r.level == cpu.levels for r in roots)


def _windows(
    top: npt.NDArray[np.uint64], cpu: CpuState, intent: Intent
) -> list[tuple[int, int]]:
    """Pages under a slot that is, or should be, recursive."""
    to_itself = (top & np.uint64(ADDRESS_MASK) == np.uint64(cpu.root)) & (
        top & np.uint64(PRESENT) != 0
    )
    slots = {*integers(np.flatnonzero(to_itself)), *promised_slots(intent, cpu)}
    windows = (window_of(slot, cpu.levels) for slot in slots)
    return [(first >> PAGE_SHIFT, (last >> PAGE_SHIFT) + 1) for first, last in windows]


def _inside(pages: I64, ranges: list[tuple[int, int]]) -> Mask:
    inside = np.zeros(len(pages), dtype=np.bool_)
    for first, end in ranges:
        inside |= (pages >= first) & (pages < end)
    return inside
