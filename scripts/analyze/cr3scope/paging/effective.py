"""Effective mappings: what an address space maps, with the rights that all levels grant together.

Each table is followed once for each (level, inherited rights) in which it is met, all tables of a
level at once in numpy columns. So shared tables, cycles and the recursive slot cost no more than
any other table; what they map is listed, since the CPU maps it too.
"""

from __future__ import annotations

from dataclasses import field

import numpy as np

from cr3scope.arrays import I64, U64, Mask, integers
from cr3scope.dataclass import dataclass
from cr3scope.paging import range_kind
from cr3scope.paging.range_kind import Kind, kind_of, page_sizes
from cr3scope.paging.reach import sign_extended
from cr3scope.paging.tables import Entries, Tables, root_entries, table_entries
from cr3scope.x86 import entry as bits
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CpuState, PagingMode
from cr3scope.x86.platform import Platform


# The rights of a row (range_kind.py), for columns.
RIGHT_WRITE, RIGHT_USER, RIGHT_EXECUTE = np.uint64(range_kind.WRITE), np.uint64(range_kind.USER), np.uint64(range_kind.EXECUTE)
_LEVEL_AT, _PAT_AT = np.uint64(range_kind.LEVEL_SHIFT), np.uint64(range_kind.PAT_SHIFT)

# Tables that point to one another can map 2^36 pages. Past this many ranges the list is cut.
MOST_ROWS = 1 << 22
_MOST_TABLES = 1 << 15  # of one level, each once for each set of inherited rights
TABLES_AT_ONCE = 1 << 5  # so many stay in a CPU's cache while their entries are sorted out


@dataclass(frozen=True, slots=True)
class Mappings:
    """Merged ranges in the order of their addresses, one row each, and what could not be told.

    ``attributes`` holds rights, leaf level and PAT index of a row; rows merge only if it is equal.
    """

    first: U64
    last: U64
    phys: U64
    attributes: U64
    pat: int
    missing: tuple[EntryRef, ...] = ()  # the first entry that points to each table which cannot be read, for each set of rights
    reserved: tuple[EntryRef, ...] = ()  # entries that fault for a reserved bit
    is_cut: bool = False
    missing_root: int | None = None  # address of the top table if it cannot be read
    mode: PagingMode = PagingMode.LEVELS_4

    def __len__(self) -> int:
        return len(self.first)

    @property
    def levels(self) -> U64:
        """Return the level of each leaf."""
        return self.attributes >> _LEVEL_AT & np.uint64(7)

    @property
    def page_bytes(self) -> tuple[int, ...]:
        """Return how much a leaf of each level maps, by the number of the level."""
        return page_sizes(self.mode)

    @property
    def pat_indices(self) -> U64:
        """Return which of the eight fields of the PAT each leaf selects."""
        return self.attributes >> _PAT_AT & np.uint64(7)

    def kinds(self) -> dict[int, Kind]:
        """Return what each value means that occurs in ``attributes``."""
        occurring = np.flatnonzero(np.bincount(self.attributes.astype(np.intp)))
        return {value: kind_of(value, self.pat, self.page_bytes) for value in integers(occurring)}

    def kind(self, row: int) -> Kind:
        """Return what a row's attributes mean."""
        return kind_of(int(self.attributes[row]), self.pat, self.page_bytes)

    def rights(self, row: int) -> str:
        """Return a row's rights in the style of ``rwxu``."""
        return self.kind(row).rights

    def level(self, row: int) -> int:
        """Return the level of a row's leaf."""
        return self.kind(row).level

    def memory_type(self, row: int) -> str:
        """Return a row's memory type as PAT and entry have it; the MTRRs may weaken it."""
        return self.kind(row).memory_type


@dataclass(slots=True)
class _Level:
    """Every (table, inherited rights) met at one level: its entries, and what they mean."""

    form: bits.EntryFormat
    phys: U64  # of each table
    rights: U64  # inherited by each
    tables: list[Entries]
    position: I64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))  # of good entries
    value: U64 = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    attributes: U64 = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    pointers: I64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))  # which are no leaf
    child: I64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))  # -1: missing


@dataclass(slots=True)
class _Rows:
    """Ranges of all nodes of a level, each node's rows together and in order."""

    begin: I64  # of each node's rows, and their end
    first: U64  # offsets in what the node covers; of the root, addresses
    size: U64
    phys: U64
    attributes: U64


def mappings(
    tables: Tables, cpu: CpuState, platform: Platform = Platform.HARDWARE, most: int | None = None
) -> Mappings:
    """Return everything that the tables under CR3 map; ``most``: how many ranges at the most, None: MOST_ROWS.

    Before neighbours are joined there may be as many as the tables have entries, too: a page each is no fault.
    """
    survey = _Survey(tables, cpu, platform)
    levels = survey.descend()
    rows: _Rows | None = None
    cut = survey.is_cut
    there = sum(one.form.entries * len(np.unique(one.phys)) for one in levels)
    leaves = MOST_ROWS if most is None else min(max(most, there), MOST_ROWS)
    for level in reversed(levels):
        rows, was_cut = _assemble(level, rows, cpu.levels, leaves)
        cut = cut or was_cut
    cut = cut or rows is not None and most is not None and len(rows.first) > most
    if rows is None:
        empty = np.empty(0, dtype=np.uint64)
        return Mappings(empty, empty, empty, empty, cpu.pat, missing_root=cpu.root if cpu.levels else None, mode=cpu.paging_mode)
    return Mappings(
        rows.first,
        rows.first + rows.size - np.uint64(1),
        rows.phys,
        rows.attributes,
        cpu.pat,
        tuple(survey.missing.values()),
        tuple(survey.reserved.values()),
        cut,
        mode=cpu.paging_mode,
    )


class _Survey:
    """The way down: which tables are met, at which level and with which rights."""

    def __init__(self, tables: Tables, cpu: CpuState, platform: Platform) -> None:
        self._tables = tables
        self._cpu = cpu
        self._platform = platform
        self.is_cut = False
        self.missing: dict[tuple[int, int], EntryRef] = {}  # by address and level of the entry
        self.reserved: dict[tuple[int, int], EntryRef] = {}

    def descend(self) -> list[_Level]:
        """Return one _Level for each level that has tables, from the root."""
        root = root_entries(self._tables, self._cpu)
        if root is None:
            return []
        top, *below = bits.formats_of(self._cpu)
        current = _Level(
            top,
            np.array([self._cpu.root], dtype=np.uint64),
            np.array([range_kind.ALL_RIGHTS], dtype=np.uint64),
            [root],
        )
        levels = [current]
        for form in below:
            self._look(current)
            following = self._next(current, form)
            if following is None:
                return levels
            current.tables = []
            levels.append(following)
            current = following
        self._look(current)
        return levels

    def _look(self, level: _Level) -> None:
        """Sorts out the entries: absent, reserved, leaf, table."""
        most = len(level.tables) * level.form.entries
        level.position = np.empty(most, dtype=np.int64)
        level.value, level.attributes = (np.empty(most, dtype=np.uint64) for _ in range(2))
        count = 0
        for start in range(0, len(level.tables), TABLES_AT_ONCE):
            position, value, attributes = self._look_at(level, start)
            there = slice(count, count + len(position))
            level.position[there], level.value[there] = position, value
            level.attributes[there] = attributes
            count = there.stop
        level.position, level.value = level.position[:count], level.value[:count]
        level.attributes = level.attributes[:count]
        if level.form.takes_ps:
            level.pointers = np.flatnonzero(level.value & np.uint64(bits.LARGE) == 0)
        elif not level.form.is_last:
            level.pointers = np.arange(len(level.value))

    def _look_at(self, level: _Level, start: int) -> tuple[I64, U64, U64]:
        """Position, value and attributes of the good entries of some tables."""
        flat = np.concatenate(level.tables[start : start + TABLES_AT_ONCE])
        form, first = level.form, start * level.form.entries
        good = flat & np.uint64(bits.PRESENT) != 0
        wrong = refused(flat, form, self._cpu, self._platform)
        if wrong.any():
            for at in integers(np.flatnonzero(wrong)[:range_kind.MOST_REPORTED]):
                self._report(self.reserved, level, first + at)
            good &= ~wrong
        position = np.flatnonzero(good)
        value = flat[position]
        position += first
        inherited = level.rights[position // form.entries]
        granted = granted_rights(value) & inherited if form.has_rights else inherited
        return position, value, granted | np.uint64(form.level) << _LEVEL_AT | pat_indices(value, form) << _PAT_AT

    def _next(self, level: _Level, form: bits.EntryFormat) -> _Level | None:
        """The tables below, each (table, rights) once; ``child`` of an entry is its place there."""
        if not len(level.pointers):
            return None
        phys = level.value[level.pointers] & np.uint64(bits.ADDRESS_MASK)
        granted = level.attributes[level.pointers] & np.uint64(range_kind.ALL_RIGHTS)
        # Bits 11:0 of the address are free for the rights: one number names the pair.
        keys, first_seen, inverse = np.unique(
            phys | granted, return_index=True, return_inverse=True
        )
        # In the order in which they are met, the rows of an unshared table stay where they are.
        order = np.argsort(first_seen)
        found: list[Entries] = []
        kept: list[int] = []
        place = np.full(len(keys), -1, dtype=np.int64)
        self.is_cut = self.is_cut or len(keys) > _MOST_TABLES
        order = order[:_MOST_TABLES]
        for number, key in zip(integers(order), integers(keys[order]), strict=True):
            table = table_entries(self._tables, form, key & bits.PAGE_FRAME)
            if table is None:
                if len(self.missing) >= range_kind.MOST_REPORTED:
                    continue
                pointer = level.pointers[first_seen[number]]
                self._report(self.missing, level, int(level.position[pointer]))
            else:
                place[number] = len(found)
                found.append(table)
                kept.append(key)
        level.child = place[inverse]
        if not found:
            return None
        pairs, below = np.array(kept, dtype=np.uint64), np.uint64(bits.PAGE_OFFSET)
        return _Level(form, pairs & ~below, pairs & below, found)

    @staticmethod
    def _report(where: dict[tuple[int, int], EntryRef], level: _Level, position: int) -> None:
        if len(where) >= range_kind.MOST_REPORTED:
            return
        node, index = divmod(position, level.form.entries)
        phys = int(level.phys[node])
        key = phys + level.form.entry_bytes * index, level.form.level
        if key not in where:
            where[key] = EntryRef.of(level.form, phys, index, int(level.tables[node][index]))


def _assemble(level: _Level, below: _Rows | None, depth: int, most: int) -> tuple[_Rows, bool]:
    """The rows of a level's nodes, from their leaves and from the rows of the tables below."""
    nodes = np.arange(len(level.phys) + 1) * level.form.entries
    if not len(level.pointers):
        rows = _leaves(level, slice(most), depth)
        rows.begin = np.minimum(np.searchsorted(level.position, nodes), most)
        return _merge(rows), len(level.value) > most
    is_leaf = np.ones(len(level.value), dtype=np.bool_)
    is_leaf[level.pointers] = False
    count = is_leaf.astype(np.int64)
    there = level.child >= 0
    pointers, child = level.pointers[there], level.child[there]
    if below is not None:
        count[pointers] = below.begin[child + 1] - below.begin[child]
    end = np.cumsum(count)
    kept = int(np.searchsorted(end, most, side="right"))
    leaf = np.flatnonzero(is_leaf[:kept])
    rows = _leaves(level, leaf, depth)
    rows.begin = np.insert(end[:kept], 0, 0)[np.searchsorted(level.position[:kept], nodes)]
    if below is not None and len(below.first):
        among = pointers < kept
        at = end[leaf] - 1 - np.arange(len(leaf))  # how many inherited rows come before each leaf
        _inherit(rows, at, below, child[among], _offset(level, pointers[among], depth))
    return _merge(rows), kept < len(end)


def _leaves(level: _Level, which: I64 | slice, depth: int) -> _Rows:
    """A row for each of some leaves; to which nodes they belong is for the caller to say."""
    value, span = level.value[which], np.uint64(level.form.page_bytes)
    size = np.broadcast_to(span, len(value))
    phys = value & np.uint64(level.form.frame_mask)
    if level.form.high_mask:
        phys |= (value & np.uint64(level.form.high_mask)) << np.uint64(bits.PSE36_SHIFT)
    unsaid = np.empty(0, dtype=np.int64)
    return _Rows(unsaid, _offset(level, which, depth), size, phys, level.attributes[which])


def _offset(level: _Level, which: I64 | slice, depth: int) -> U64:
    """Where in its node's range an entry maps; of the root, at which address."""
    offset = level.position[which].astype(np.uint64)
    offset &= np.uint64(level.form.entries - 1)
    offset *= np.uint64(level.form.page_bytes)
    # Before rows are merged: the two halves of the top table are no neighbours.
    return sign_extended(offset, depth) if level.form.level == depth else offset


def pat_indices(value: U64, form: bits.EntryFormat) -> U64:
    """Return which of the eight fields of the PAT each leaf selects (SDM 3A, 5.9.2)."""
    pat = np.uint64(7 if form.is_last else 12)  # the PAT bit of a PTE, and of a large leaf
    return value >> np.uint64(3) & np.uint64(3) | (value >> pat & np.uint64(1)) << np.uint64(2)


def refused(value: U64, form: bits.EntryFormat, cpu: CpuState, platform: Platform) -> Mask:
    """Return which entries a walk faults at for a bit that must be zero: present ones."""
    small, large = (np.uint64(form.checked_mask(ps, cpu, platform)) for ps in (0, bits.LARGE))
    is_large = value & np.uint64(bits.LARGE) != 0
    found: Mask = (value & np.uint64(bits.PRESENT) != 0) & (value & np.where(is_large, large, small) != 0)
    return found


def granted_rights(value: U64) -> U64:
    """Return the rights that each entry grants by its own bits."""
    return value & (RIGHT_WRITE | RIGHT_USER) | value >> np.uint64(63) ^ np.uint64(1)

def _inherit(rows: _Rows, at: I64, below: _Rows, child: I64, offset: U64) -> None:
    """Inserts the rows of each ``child``, moved by its ``offset``, among the leaves' rows."""
    start = below.begin[child]
    count = below.begin[child + 1] - start
    shift = start - (np.cumsum(count) - count)
    first, size, phys, attributes = below.first, below.size, below.phys, below.attributes
    if shift.any() or int(count.sum()) != len(first):
        source = np.arange(int(count.sum())) + np.repeat(shift, count)
        first, size, phys, attributes = (
            column[source] for column in (first, size, phys, attributes)
        )
    first += np.repeat(offset, count)
    if len(at):
        first, size = np.insert(first, at, rows.first), np.insert(size, at, rows.size)
        phys = np.insert(phys, at, rows.phys)
        attributes = np.insert(attributes, at, rows.attributes)
    rows.first, rows.size, rows.phys, rows.attributes = first, size, phys, attributes


def _merge(rows: _Rows) -> _Rows:
    """Joins neighbours of one node with equal attributes and contiguous frames."""
    joined = np.flatnonzero(rows.phys[1:] - rows.phys[:-1] == rows.size[:-1]) + 1
    joined = joined[rows.first[joined] - rows.first[joined - 1] == rows.size[joined - 1]]
    joined = joined[rows.attributes[joined] == rows.attributes[joined - 1]]
    if not len(joined):
        return rows
    is_start = np.ones(len(rows.first) + 1, dtype=np.bool_)
    is_start[joined] = False
    is_start[rows.begin] = True
    start = np.flatnonzero(is_start[:-1])
    return _Rows(
        np.searchsorted(start, rows.begin), rows.first[start],
        np.add.reduceat(rows.size, start), rows.phys[start], rows.attributes[start],
    )  # fmt: skip
