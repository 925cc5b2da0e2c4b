"""All tables that a walk can meet, level by level, and which of them are alike.

Two tables of a level are of one shape if their entries deny the same, lead to pages or to tables of one shape at the same
indices, and fault at the same ones. Frames, A, D, G and the bits of software do not count. Each table is looked at once for each
level at which it is met, so that cycles and self-maps end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

import numpy as np

from cr3scope import limits
from cr3scope.arrays import I64, U64, Mask, integers
from cr3scope.dataclass import dataclass
from cr3scope.paging.effective import TABLES_AT_ONCE, granted_rights, pat_indices, refused
from cr3scope.paging.range_kind import ALL_RIGHTS
from cr3scope.paging.tables import Entries, Tables, root_entries, table_entries
from cr3scope.x86 import entry as bits
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.platform import Platform

if TYPE_CHECKING:
    import numpy.typing as npt

# What an entry is, as one number: its kind; from DENIED_AT on the rights that it denies; from DETAIL_AT on of a page the PAT index, of
# what leads to a table the table's shape; from MARK_AT on a number of its own, where it shall be like no other.
ABSENT, PAGE, TABLE, EMPTY, MISSING, UNREAD, REFUSED = range(7)
_KIND_MASK, _DENIED_AT, _DETAIL_AT, _MARK_AT = 7, 3, 6, 32

Marks = Mapping[tuple[int, int], str]  # why an entry, by its level and address, is like no other that is not marked for the same


@dataclass(slots=True)
class Layer:
    """The tables of one level: where each lies, its entries, and what they are as numbers.

    ``child``: of each entry the place of its table in the next layer; -1 of what leads to none. ``mapped``: how many bytes a
    table maps; ``shape``: equal for tables that are alike; ``is_marked``: of those that hold a marked entry, or lead to one.
    """

    form: bits.EntryFormat
    phys: list[int]
    tables: list[Entries]
    child: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty((0, 0), dtype=np.int32))
    codes: I64 = field(default_factory=lambda: np.empty((0, 0), dtype=np.int64))
    mapped: U64 = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    shape: list[int] = field(default_factory=list)
    is_marked: Mask = field(default_factory=lambda: np.empty(0, dtype=np.bool_))

    def leads_to_mark(self, place: int, index: int, under: Layer | None) -> bool:
        """Return whether an entry is marked, or one below it; ``under``: the next layer."""
        child = int(self.child[place, index])
        return bool(self.codes[place, index] >> _MARK_AT) or (child >= 0 and under is not None and bool(under.is_marked[child]))


def kind_of(code: int) -> int:
    """Return which of the kinds an entry's number says."""
    return code & _KIND_MASK


def kinds_of(codes: I64) -> I64:
    """Return which of the kinds each of some numbers says."""
    return codes & _KIND_MASK


def denied_by(code: int) -> int:
    """Return the rights that an entry's number says it denies, as bits of a row of mappings."""
    return code >> _DENIED_AT & ALL_RIGHTS


def layers(
    tables: Tables, cpu: CpuState, platform: Platform = Platform.HARDWARE, marked: Marks | None = None
) -> list[Layer]:
    """Return the tables of each level, from the root; none if the root is absent.

    ``marked``: entries that are told apart from their neighbours.
    """
    root = root_entries(tables, cpu)
    if root is None:
        return []
    top, *below = bits.formats_of(cpu)
    found = [Layer(top, [cpu.root], [root])]
    for form in below:
        following = _descend(found[-1], form, tables, cpu, platform)
        if not following.tables:
            break
        found.append(following)
    last = found[-1]
    if not last.child.size:
        _look(last, cpu, platform)
    under: Layer | None = None
    for layer in reversed(found):
        _sum_up(layer, under, marked or {})
        under = layer
    return found


def _descend(layer: Layer, form: bits.EntryFormat, tables: Tables, cpu: CpuState, platform: Platform) -> Layer:
    """The tables to which the entries of a layer lead, each once."""
    _look(layer, cpu, platform)
    rows, indices = np.nonzero(kinds_of(layer.codes) == TABLE)
    layer.child = np.full(layer.codes.shape, -1, dtype=np.int32)
    if not len(rows):
        return Layer(form, [], [])
    targets = np.empty(len(rows), dtype=np.uint64)
    border = np.searchsorted(rows, np.arange(len(layer.tables) + 1))
    for row, table in enumerate(layer.tables):
        there = slice(border[row], border[row + 1])
        targets[there] = table[indices[there]] & np.uint64(bits.ADDRESS_MASK)
    known, inverse = np.unique(targets, return_inverse=True)
    following = Layer(form, [], [])
    place = np.full(len(known), -1, dtype=np.int32)
    kind = np.full(len(known), UNREAD, dtype=np.int64)
    for number, phys in enumerate(integers(known[: limits.TREE_TABLES])):
        table_there = table_entries(tables, form, phys)
        kind[number] = MISSING if table_there is None else TABLE
        if table_there is not None:
            place[number] = len(following.tables)
            following.phys.append(phys)
            following.tables.append(table_there)
    layer.child[rows, indices] = place[inverse]
    layer.codes[rows, indices] += kind[inverse] - TABLE
    return following


def _look(layer: Layer, cpu: CpuState, platform: Platform) -> None:
    """What each entry is, as far as it says so itself."""
    form = layer.form
    layer.codes = np.zeros((len(layer.tables), form.entries), dtype=np.int64)
    layer.child = np.full((len(layer.tables), form.entries), -1, dtype=np.int32)
    for start in range(0, len(layer.tables), TABLES_AT_ONCE):
        value = np.stack(layer.tables[start : start + TABLES_AT_ONCE])
        is_leaf: npt.NDArray[np.bool_] = np.full(value.shape, form.is_last)
        if form.takes_ps:
            is_leaf |= value & np.uint64(bits.LARGE) != 0
        code = np.where(is_leaf, np.uint64(PAGE) | pat_indices(value, form) << np.uint64(_DETAIL_AT), np.uint64(TABLE))
        if form.has_rights:
            code |= (granted_rights(value) & np.uint64(ALL_RIGHTS) ^ np.uint64(ALL_RIGHTS)) << np.uint64(_DENIED_AT)
        code[refused(value, form, cpu, platform)] = REFUSED
        code[value & np.uint64(bits.PRESENT) == 0] = 0
        layer.codes[start : start + len(value)] = code


def _sum_up(layer: Layer, under: Layer | None, marked: Marks) -> None:
    """What is mapped below each entry, and which tables are alike."""
    pages = np.count_nonzero(kinds_of(layer.codes) == PAGE, axis=1).astype(np.uint64)
    layer.mapped = pages * np.uint64(layer.form.page_bytes)
    rows, indices = np.nonzero(layer.child >= 0)
    if under is not None and len(rows):
        child = layer.child[rows, indices]
        np.add.at(layer.mapped, rows, under.mapped[child])
        shape = np.array(under.shape, dtype=np.int64)[child]
        is_empty = np.count_nonzero(under.codes, axis=1)[child] == 0
        layer.codes[rows, indices] += shape << _DETAIL_AT
        layer.codes[rows[is_empty], indices[is_empty]] += EMPTY - TABLE
    width = layer.form.entries * layer.form.entry_bytes
    places = {phys: row for row, phys in enumerate(layer.phys)}
    numbers = {mark: 1 + number for number, mark in enumerate(dict.fromkeys(marked.values()))}
    for (level, phys), mark in marked.items():
        row_there = places.get(phys - phys % width)
        if level == layer.form.level and row_there is not None:
            layer.codes[row_there, phys % width // layer.form.entry_bytes] |= numbers[mark] << _MARK_AT
    layer.is_marked = (layer.codes >> _MARK_AT != 0).any(axis=1)
    if under is not None and len(rows):
        layer.is_marked[rows[under.is_marked[layer.child[rows, indices]]]] = True
    known: dict[bytes, int] = {}
    layer.shape = [known.setdefault(codes.tobytes(), len(known)) for codes in layer.codes]
