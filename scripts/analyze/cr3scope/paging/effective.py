"""Effective mappings: what an address space maps, with the rights that all levels grant together.

Each table is followed once for each (level, inherited rights) in which it is met, all tables of a
level at once in numpy columns. So shared tables, cycles and the recursive slot cost no more than
any other table; what they map is listed, since the CPU maps it too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cr3scope.paging import entry as bits
from cr3scope.paging.cpu import CpuState
from cr3scope.paging.platform import Platform
from cr3scope.paging.tables import Tables
from cr3scope.verdict import EntryRef

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

# Rights as bits of a row, W and U where the entry has them: AND over the levels (SDM 3A, 5.6.1).
RIGHT_WRITE = np.uint64(bits.WRITABLE)
RIGHT_USER = np.uint64(bits.USER)
RIGHT_EXECUTE = np.uint64(1)
_ALL_RIGHTS = int(RIGHT_WRITE | RIGHT_USER | RIGHT_EXECUTE)
_RIGHT_STATES = _ALL_RIGHTS + 1

# SDM 3A, table 13-10: encodings of the PAT's fields.
MEMORY_TYPES = {0: "uc", 1: "wc", 4: "wt", 5: "wp", 6: "wb", 7: "uc-"}

# Tables that point to one another can map 2^36 pages. Past this many ranges the list is cut.
MOST_ROWS = 1 << 22
_MOST_TABLES = 1 << 15  # of one level, each once for each set of inherited rights
_MOST_REPORTED = 64
_ENTRIES = bits.ENTRIES


class Kind(NamedTuple):
    """What rows of equal attributes have in common."""

    rights: str
    level: int
    memory_type: str


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
    missing: tuple[EntryRef, ...] = ()  # entries that point to a table which cannot be read
    reserved: tuple[EntryRef, ...] = ()  # entries that fault for a reserved bit
    is_cut: bool = False
    missing_root: int | None = None  # address of the top table if it cannot be read

    def __len__(self) -> int:
        return len(self.first)

    @property
    def levels(self) -> U64:
        """Level of the leaves."""
        return self.attributes >> _LEVEL_AT & np.uint64(7)

    @property
    def pat_indices(self) -> U64:
        """Which of the eight memory types the leaves select."""
        return self.attributes >> _PAT_AT & np.uint64(7)

    def kinds(self) -> dict[int, Kind]:
        """What each value means that occurs in ``attributes``."""
        types, level_at, pat_at = self.memory_types(), int(_LEVEL_AT), int(_PAT_AT)
        occurring = np.flatnonzero(np.bincount(self.attributes.astype(np.intp)))
        return {
            value: Kind(rights_text(value), value >> level_at & 7, types[value >> pat_at])
            for value in occurring.tolist()
        }

    def rights(self, row: int) -> str:
        """``rwxu``-style."""
        return rights_text(int(self.attributes[row]))

    def memory_type(self, row: int) -> str:
        """As PAT and entry have it; the MTRRs may weaken it."""
        return self.memory_types()[int(self.pat_indices[row])]

    def memory_types(self) -> list[str]:
        """Names of the eight types that a leaf can select."""
        fields = [self.pat >> 8 * index & 0xFF for index in range(8)]
        return [MEMORY_TYPES.get(value, f"reserved-{value:x}") for value in fields]


_LEVEL_AT = np.uint64(3)
_PAT_AT = np.uint64(6)


def rights_text(attributes: int) -> str:
    """``rwxu`` with ``-`` for what is denied."""
    write, user = attributes & int(RIGHT_WRITE), attributes & int(RIGHT_USER)
    letters = ((1, "r"), (write, "w"), (attributes & int(RIGHT_EXECUTE), "x"), (user, "u"))
    return "".join(letter if granted else "-" for granted, letter in letters)


@dataclass(slots=True)
class _Level:
    """Every (table, inherited rights) met at one level: its entries, and what they mean."""

    level: int
    phys: U64  # of each table
    rights: U64  # inherited by each
    entries: U64 = field(default_factory=lambda: np.empty((0, _ENTRIES), dtype=np.uint64))
    node: I64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    index: I64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    value: U64 = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    granted: U64 = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    leaf: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=np.bool_))
    child: I64 = field(default_factory=lambda: np.empty(0, dtype=np.int64))


@dataclass(slots=True)
class _Rows:
    """Ranges of all nodes of a level, each node's rows together and in order."""

    node: I64
    first: U64  # offsets in what the node covers; of the root, addresses
    last: U64
    phys: U64
    attributes: U64


def mappings(
    tables: Tables, cpu: CpuState, platform: Platform = Platform.HARDWARE
) -> Mappings:
    """Everything that the tables under CR3 map."""
    survey = _Survey(tables, cpu, platform)
    levels = survey.descend()
    rows: _Rows | None = None
    cut = survey.is_cut
    for level in reversed(levels):
        rows, was_cut = _assemble(level, rows, cpu.levels)
        cut = cut or was_cut
    if rows is None:
        empty = np.empty(0, dtype=np.uint64)
        return Mappings(empty, empty, empty, empty, cpu.pat, missing_root=cpu.root)
    return Mappings(
        rows.first,
        rows.last,
        rows.phys,
        rows.attributes,
        cpu.pat,
        tuple(survey.missing),
        tuple(survey.reserved),
        cut,
    )


class _Survey:
    """The way down: which tables are met, at which level and with which rights."""

    def __init__(self, tables: Tables, cpu: CpuState, platform: Platform) -> None:
        self._tables = tables
        self._cpu = cpu
        self._platform = platform
        self.is_cut = False
        self.missing: list[EntryRef] = []
        self.reserved: list[EntryRef] = []

    def descend(self) -> list[_Level]:
        """One _Level for each level that has tables, from the root."""
        root = self._tables.table(self._cpu.root)
        if root is None:
            return []
        current = _Level(
            self._cpu.levels,
            np.array([self._cpu.root], dtype=np.uint64),
            np.array([_ALL_RIGHTS], dtype=np.uint64),
            root[np.newaxis, :],
        )
        levels = [current]
        while True:
            self._look(current)
            following = self._next(current)
            if following is None:
                return levels
            current.entries = current.entries[:0]
            levels.append(following)
            current = following

    def _look(self, level: _Level) -> None:
        """Sorts out the entries: absent, reserved, leaf, table."""
        flat = level.entries.ravel()
        good = flat & np.uint64(bits.PRESENT) != 0
        small, large = (
            bits.reserved_mask(level.level, ps, self._cpu, self._platform) for ps in (0, bits.LARGE)
        )
        is_large = flat & np.uint64(bits.LARGE) != 0
        wrong = good & (flat & np.where(is_large, np.uint64(large), np.uint64(small)) != 0)
        if wrong.any():
            for position in np.flatnonzero(wrong)[:_MOST_REPORTED]:
                self._report(self.reserved, level, int(position))
            good &= ~wrong
        position = np.flatnonzero(good)
        level.node, level.index = position // _ENTRIES, position % _ENTRIES
        level.value = flat[position]
        own = level.value & (RIGHT_WRITE | RIGHT_USER)
        own |= level.value >> np.uint64(63) ^ np.uint64(1)
        level.granted = own & level.rights[level.node]
        if level.level == 1:
            level.leaf = np.ones(len(position), dtype=np.bool_)
        elif level.level <= 3:
            level.leaf = is_large[position]
        else:
            level.leaf = np.zeros(len(position), dtype=np.bool_)

    def _next(self, level: _Level) -> _Level | None:
        """The tables below, each (table, rights) once; ``child`` of an entry is its place there."""
        level.child = np.full(len(level.value), -1, dtype=np.int64)
        pointers = np.flatnonzero(~level.leaf)
        if not len(pointers):
            return None
        phys = level.value[pointers] & np.uint64(bits.ADDRESS_MASK)
        # Bits 11:0 of the address are free for the rights: one number names the pair.
        keys, first_seen, inverse = np.unique(
            phys | level.granted[pointers], return_index=True, return_inverse=True
        )
        found: list[U64] = []
        place = np.full(len(keys), -1, dtype=np.int64)
        self.is_cut = self.is_cut or len(keys) > _MOST_TABLES
        for number, key in enumerate(keys[:_MOST_TABLES].tolist()):
            table = self._tables.table(key & ~0xFFF)
            if table is None:
                pointer = int(pointers[first_seen[number]])
                position = int(level.node[pointer]) * _ENTRIES + int(level.index[pointer])
                self._report(self.missing, level, position)
            else:
                place[number] = len(found)
                found.append(table)
        level.child[pointers] = place[inverse]
        if not found:
            return None
        kept = keys[place >= 0]
        below = np.uint64(0xFFF)
        return _Level(level.level - 1, kept & ~below, kept & below, np.stack(found))

    @staticmethod
    def _report(where: list[EntryRef], level: _Level, position: int) -> None:
        node, index = divmod(position, _ENTRIES)
        phys = int(level.phys[node]) + bits.ENTRY_BYTES * index
        entry = EntryRef(level.level, index, phys, int(level.entries[node, index]))
        if entry not in where and len(where) < _MOST_REPORTED:
            where.append(entry)


def _assemble(level: _Level, below: _Rows | None, depth: int) -> tuple[_Rows, bool]:
    """The rows of a level's nodes, from their leaves and from the rows of the tables below."""
    span = np.uint64(bits.level_bytes(level.level))
    # Canonical before rows are merged: the two halves of the top table are no neighbours.
    offset = _canonical(level.index.astype(np.uint64) * span, depth)
    leaf = np.flatnonzero(level.leaf)
    value = level.value[leaf]
    frame_mask = np.uint64(bits.ADDRESS_MASK) & ~(span - np.uint64(1))
    rows = _Rows(
        level.node[leaf],
        offset[leaf],
        offset[leaf] + (span - np.uint64(1)),
        value & frame_mask,
        level.granted[leaf] | np.uint64(level.level) << _LEVEL_AT | _pat(value, level) << _PAT_AT,
    )
    cut = False
    if below is not None and len(below.node):
        inherited, cut = _inherit(level, below, offset, MOST_ROWS - len(leaf))
        rows = _in_order(rows, inherited)
    return _merge(rows), cut


def _pat(value: U64, level: _Level) -> U64:
    """PAT index of each leaf (SDM 3A, 5.9.2)."""
    pat = np.uint64(7 if level.level == 1 else 12)  # the PAT bit of a PTE, and of a large leaf
    return (value >> np.uint64(3) & np.uint64(3)) | (value >> pat & np.uint64(1)) << np.uint64(2)


def _inherit(level: _Level, below: _Rows, offset: U64, most: int) -> tuple[_Rows, bool]:
    """The rows that the tables below contribute, moved to where each pointer puts them."""
    pointers = np.flatnonzero(level.child >= 0)
    child = level.child[pointers]
    start = np.searchsorted(below.node, child)
    count = np.searchsorted(below.node, child, side="right") - start
    total = np.cumsum(count)
    cut = bool(len(total)) and int(total[-1]) > most
    if cut:
        keep = int(np.searchsorted(total, most, side="right"))
        pointers, start, count, total = pointers[:keep], start[:keep], count[:keep], total[:keep]
    length = int(total[-1]) if len(total) else 0
    source = np.arange(length) + np.repeat(start - (total - count), count)
    base = np.repeat(offset[pointers], count)
    rows = _Rows(
        np.repeat(level.node[pointers], count),
        below.first[source] + base,
        below.last[source] + base,
        below.phys[source],
        below.attributes[source],
    )
    return rows, cut


def _in_order(leaves: _Rows, inherited: _Rows) -> _Rows:
    if not len(leaves.node):
        return inherited
    if not len(inherited.node):
        return leaves
    both = _Rows(
        *(
            np.concatenate([getattr(leaves, name), getattr(inherited, name)])
            for name in ("node", "first", "last", "phys", "attributes")
        )
    )
    order = np.lexsort((both.first, both.node))
    return _Rows(
        both.node[order], both.first[order], both.last[order], both.phys[order],
        both.attributes[order],
    )  # fmt: skip


def _merge(rows: _Rows) -> _Rows:
    """Joins neighbours of one node with equal attributes and contiguous frames."""
    if len(rows.node) < 2:
        return rows
    one = np.uint64(1)
    size = rows.last[:-1] - rows.first[:-1] + one
    joined = (
        (rows.node[1:] == rows.node[:-1])
        & (rows.first[1:] == rows.last[:-1] + one)
        & (rows.phys[1:] == rows.phys[:-1] + size)
        & (rows.attributes[1:] == rows.attributes[:-1])
    )
    if not joined.any():
        return rows
    starts = np.flatnonzero(np.concatenate([[True], ~joined]))
    ends = np.concatenate([starts[1:] - 1, [len(rows.node) - 1]])
    return _Rows(
        rows.node[starts], rows.first[starts], rows.last[ends], rows.phys[starts],
        rows.attributes[starts],
    )  # fmt: skip


def _canonical(offset: U64, levels: int) -> U64:
    """Sign-extends from bit 47, or 56 with five levels (SDM volume 1, 3.3.7.1)."""
    top = np.uint64(1) << np.uint64(bits.level_shift(levels) + 8)
    return (offset ^ top) - top
