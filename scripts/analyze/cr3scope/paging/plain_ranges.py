"""Effective mappings in plain Python, for where numpy is missing (a gdb whose Python lacks it): the ranges of `effective.py`, slower."""

from __future__ import annotations

from dataclasses import field
from typing import NamedTuple

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.paging import range_kind
from cr3scope.paging.canonical import LEVELS
from cr3scope.paging.range_kind import Kind, kind_of, page_sizes
from cr3scope.paging.tables import Entries, Tables, root_entries, table_entries
from cr3scope.paging.walk import Reason, stops
from cr3scope.x86 import entry as bits
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.platform import Platform
from cr3scope.x86.word import MASK64


class Piece(NamedTuple):
    """A range by its offset in what its table covers; of the root, by its address."""

    first: int
    size: int
    phys: int
    attributes: int


class Range(NamedTuple):
    """A mapped range: addresses inclusive, and what its pages have in common."""

    first: int
    last: int
    phys: int
    kind: Kind


@dataclass(slots=True)
class PlainRanges:
    """Merged ranges in the order of their addresses, and what could not be told."""

    ranges: list[Range] = field(default_factory=list)
    missing: list[EntryRef] = field(default_factory=list)  # the first entry that points to each table which cannot be read, for each set of rights
    reserved: list[EntryRef] = field(default_factory=list)  # entries that fault for a reserved bit
    is_cut: bool = False
    missing_root: int | None = None


def plain_ranges(tables: Tables, cpu: CpuState, platform: Platform = Platform.HARDWARE) -> PlainRanges:
    """Return everything that the tables under CR3 map, at most ``limits.PLAIN_RANGES`` ranges."""
    found = PlainRanges()
    root = root_entries(tables, cpu)
    if root is None:
        found.missing_root = cpu.root if bits.formats_of(cpu) else None
        return found
    sizes = page_sizes(cpu.paging_mode)
    for one in _Descent(tables, cpu, platform, found).of_table(root, 0, cpu.root, range_kind.ALL_RIGHTS):
        found.ranges.append(Range(one.first, one.first + one.size - 1, one.phys, kind_of(one.attributes, cpu.pat, sizes)))
    return found


class _Descent:
    """The way down. What a table maps is found once for each set of inherited rights; work has an end, whatever the tables are."""

    def __init__(self, tables: Tables, cpu: CpuState, platform: Platform, found: PlainRanges) -> None:
        self._tables, self._cpu, self._platform, self._found = tables, cpu, platform, found
        self._formats = bits.formats_of(cpu)
        self._known: dict[tuple[int, int, int], list[Piece]] = {}
        self._left = limits.PLAIN_STEPS

    def of_table(self, entries: Entries, depth: int, phys: int, rights: int) -> list[Piece]:
        """Return the ranges of a table at ``phys``, ``depth`` levels below the root."""
        key = depth, phys, rights
        if key in self._known:
            return self._known[key]
        form, pieces = self._formats[depth], list[Piece]()
        self._left -= form.entries
        for index in range(form.entries):
            value = int(entries[index])
            stop = stops(form, value, self._cpu, self._platform)
            if stop is Reason.RESERVED:
                self._report(self._found.reserved, EntryRef.of(form, phys, index, value))
            if stop is not None:
                continue
            granted = rights
            if form.has_rights:
                granted &= value & (range_kind.WRITE | range_kind.USER) | (0 if value & bits.NO_EXECUTE else range_kind.EXECUTE)
            first = index * form.page_bytes
            if depth == 0 and len(self._formats) >= LEVELS and index >= form.entries // 2:
                first += MASK64 + 1 - form.entries * form.page_bytes  # canonical (SDM volume 1, 3.3.7.1)
            if form.is_leaf(value):
                attributes = granted | form.level << range_kind.LEVEL_SHIFT | form.pat_index(value) << range_kind.PAT_SHIFT
                new = [Piece(0, form.page_bytes, form.frame(value), attributes)]
            else:
                new = self._below(EntryRef.of(form, phys, index, value), depth + 1, granted)
            for one in new:
                if len(pieces) >= limits.PLAIN_RANGES or self._left < 0:
                    self._found.is_cut = True
                    return pieces
                self._left -= 1
                _add(pieces, one._replace(first=first + one.first))
        self._known[key] = pieces
        return pieces

    def _below(self, pointer: EntryRef, depth: int, rights: int) -> list[Piece]:
        key = depth, pointer.frame, rights
        if key in self._known:
            return self._known[key]
        entries = table_entries(self._tables, self._formats[depth], pointer.frame)
        if entries is None:
            self._report(self._found.missing, pointer)
            self._known[key] = []  # of the entries that lead to it with these rights the first is told
            return []
        return self.of_table(entries, depth, pointer.frame, rights)

    @staticmethod
    def _report(where: list[EntryRef], entry: EntryRef) -> None:
        if entry not in where and len(where) < range_kind.MOST_REPORTED:
            where.append(entry)


def _add(pieces: list[Piece], new: Piece) -> None:
    """Append a piece, or let the last one grow by it."""
    if pieces:
        last = pieces[-1]
        if (last.first + last.size, last.phys + last.size, last.attributes) == (new.first, new.phys, new.attributes):
            pieces[-1] = last._replace(size=last.size + new.size)
            return
    pieces.append(new)
