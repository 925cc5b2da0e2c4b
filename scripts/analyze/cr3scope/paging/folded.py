"""An address space as a tree of its tables, in which neighbours that say the same are one branch.

Where a right is lost is a property of a branch: its entries deny what everything above them grants.
"""

from __future__ import annotations

from dataclasses import field
from enum import Enum
from typing import NamedTuple

import numpy as np

from cr3scope import limits
from cr3scope.arrays import I64, integers
from cr3scope.dataclass import dataclass
from cr3scope.paging import layers as layer_codes
from cr3scope.paging.range_kind import ALL_RIGHTS
from cr3scope.paging.layers import Layer, Marks, denied_by, kind_of, kinds_of, layers
from cr3scope.paging.canonical import canonical
from cr3scope.paging.tables import Tables
from cr3scope.x86 import entry as bits
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.platform import Platform


class Leads(Enum):
    """Where the entries of a branch lead. AGAIN: to tables that another branch shows with the same rights; BACK: to a table on
    their own way; UNREAD: to one beyond the budget; REST: branches of one table that are not told one by one."""

    PAGE = "page"
    TABLE = "table"
    EMPTY = "empty"
    AGAIN = "again"
    BACK = "back"
    MISSING = "missing"
    UNREAD = "unread"
    REFUSED = "reserved"
    ABSENT = "absent"
    REST = "rest"


_KINDS = {
    layer_codes.ABSENT: Leads.ABSENT, layer_codes.PAGE: Leads.PAGE, layer_codes.TABLE: Leads.TABLE, layer_codes.EMPTY: Leads.EMPTY,
    layer_codes.MISSING: Leads.MISSING, layer_codes.UNREAD: Leads.UNREAD, layer_codes.REFUSED: Leads.REFUSED,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Branch:
    """Entries side by side in one table, or in as many tables of one shape as ``copies`` says.

    ``entry``: the first of them; ``last_index``: of the last in the same table. ``first`` and ``last``: the addresses that these
    translate. ``granted``: the rights down to here, as bits of a row of mappings; ``taken``: what these entries take away of
    those that the levels above grant. ``mapped``: bytes, in all copies. ``pieces``: in how many pieces their frames lie, 0 where
    that was not counted. ``tables``: to how many different ones they lead. ``again``: the entry that leads there already.
    ``back``: the level of the table to which BACK leads. ``rest``: how many branches a REST stands for.
    """

    entry: EntryRef
    last_index: int
    first: int
    last: int
    leads: Leads
    granted: int
    taken: int
    mapped: int
    copies: int = 1
    pieces: int = 0
    tables: int = 0
    again: EntryRef | None = None
    back: int = 0
    rest: int = 0
    below: tuple[Branch, ...] = ()


@dataclass(frozen=True, slots=True)
class Folded:
    """The tree from the entries of the root on. ``left_out``: branches past the budget; ``is_cut``: tables were not read."""

    cpu: CpuState
    branches: tuple[Branch, ...]
    mapped: int
    tables: int
    left_out: int = 0
    is_cut: bool = False


@dataclass(slots=True)
class _Group:
    """Tables of one shape that one branch leads to: the first of them is shown. ``places``: of the tables, in the order of the
    addresses, as many as the budget allows; ``count``: how many there are."""

    depth: int
    places: I64
    count: int
    virt: int
    granted: int
    way: tuple[int, ...]


def folded(
    tables: Tables, cpu: CpuState, platform: Platform = Platform.HARDWARE, marked: Marks | None = None
) -> Folded:
    """Return the tree of all that the tables under CR3 hold; ``marked``: entries, by level and address, that are no part of
    any run."""
    found = layers(tables, cpu, platform, marked)
    if not found:
        return Folded(cpu, (), 0, 0)
    fold = _Fold(cpu, found)
    branches = fold.branches(_Group(0, np.zeros(1, dtype=np.int64), 1, 0, ALL_RIGHTS, (cpu.root,)))
    unread = any((kinds_of(layer.codes) == layer_codes.UNREAD).any() for layer in found)
    count = len({phys & bits.PAGE_FRAME for layer in found for phys in layer.phys})
    return Folded(cpu, branches, int(found[0].mapped[0]), count, fold.left_out, bool(unread))


class _End(NamedTuple):
    """What of a branch depends on where it leads."""

    leads: Leads
    pieces: int = 0
    tables: int = 0
    again: EntryRef | None = None
    back: int = 0
    below: tuple[Branch, ...] = ()


@dataclass(slots=True)
class _Fold:
    cpu: CpuState
    layers: list[Layer]
    left_out: int = 0
    _told: int = 0
    _met: dict[tuple[int, bytes, int], EntryRef] = field(default_factory=dict)
    _sums: dict[tuple[int, int], list[int]] = field(default_factory=dict)  # by depth and place of a table

    def branches(self, group: _Group) -> tuple[Branch, ...]:
        """Return the runs of the first table of a group, each with what is below it."""
        layer = self.layers[group.depth]
        runs = self._runs(group, layer)
        most = max(min(limits.TREE_LINES_OF_TABLE, limits.TREE_LINES - self._told), 1)
        kept, rest = runs, []
        if len(runs) > most:
            must = [run for run in runs[most - 1 :] if self._is_marked(group, run[0])]
            kept = [*runs[: most - 1], *must]
            rest = [run for run in runs[most - 1 :] if run not in must]
        self._told += len(kept) + bool(rest)
        made = [self._branch(group, layer, first, last) for first, last in kept]
        if rest:
            self.left_out += len(rest)
            made.append(self._rest(group, layer, rest))
        return tuple(made)

    def _runs(self, group: _Group, layer: Layer) -> list[tuple[int, int]]:
        """Inclusive ranges of indices that say the same; what leads back to the way is a run of its own."""
        place = int(group.places[0])
        codes = layer.codes[place]
        differs = codes[1:] != codes[:-1]
        for index in self._backs(group, layer):
            differs[max(index - 1, 0) : index + 1] = True
        starts = [0, *integers(np.flatnonzero(differs) + 1)]
        ends = [*(start - 1 for start in starts[1:]), len(codes) - 1]
        return [(start, end) for start, end in zip(starts, ends, strict=True) if codes[start]]

    def _backs(self, group: _Group, layer: Layer) -> list[int]:
        place = int(group.places[0])
        child = layer.child[place]
        if not (child >= 0).any():
            return []
        following = self.layers[group.depth + 1]
        return [index for index in integers(np.flatnonzero(child >= 0)) if following.phys[child[index]] in group.way]

    def _is_marked(self, group: _Group, index: int) -> bool:
        under = self.layers[group.depth + 1] if group.depth + 1 < len(self.layers) else None
        return self.layers[group.depth].leads_to_mark(int(group.places[0]), index, under)

    @staticmethod
    def _entry(layer: Layer, place: int, index: int) -> EntryRef:
        return EntryRef.of(layer.form, layer.phys[place], index, int(layer.tables[place][index]))

    def _address(self, virt: int) -> int:
        return canonical(virt, self.cpu.levels)

    def _branch(self, group: _Group, layer: Layer, first: int, last: int) -> Branch:
        place, form = int(group.places[0]), layer.form
        code = int(layer.codes[place, first])
        entry, leads = self._entry(layer, place, first), _KINDS[kind_of(code)]
        virt = group.virt + first * form.page_bytes
        denied = denied_by(code)
        granted = group.granted & ~denied
        end = _End(leads)
        if leads is Leads.PAGE:
            end = _End(leads, pieces=_pieces(layer, group, first, last))
        elif leads in (Leads.TABLE, Leads.EMPTY):
            end = self._lead(entry, last, leads, granted, group, layer, virt)
        return Branch(
            entry, last, self._address(virt), self._address(virt + (last - first + 1) * form.page_bytes - 1), end.leads,
            granted, group.granted & denied, self._mapped(group, layer, first, last), group.count,
            end.pieces, end.tables, end.again, end.back, below=end.below,
        )  # fmt: skip

    def _lead(
        self, entry: EntryRef, last: int, leads: Leads, granted: int, group: _Group, layer: Layer, virt: int
    ) -> _End:
        """The tables below the entries from ``entry`` on to the index ``last``, unless they are shown elsewhere."""
        following, width = self.layers[group.depth + 1], last - entry.index + 1
        places = group.places[: max(limits.TREE_COPIES // width, 1)]
        children = layer.child[places, entry.index : last + 1].reshape(-1)
        is_all = len(places) == group.count
        tables = (len(np.unique(children)) if len(children) > 1 else 1) if is_all else 0
        target = following.phys[children[0]]
        if target in group.way:
            return _End(Leads.BACK, tables=tables, back=self.layers[group.way.index(target)].form.level)
        if leads is Leads.EMPTY:
            return _End(leads, tables=tables)
        key = (group.depth, children.tobytes(), granted)
        if is_all and key in self._met:
            return _End(Leads.AGAIN, tables=tables, again=self._met[key])
        below = _Group(group.depth + 1, children.astype(np.int64), group.count * width, virt, granted, (*group.way, target))
        if self._told >= limits.TREE_LINES and not following.is_marked[children[0]]:
            self.left_out += len(self._runs(below, following))
            return _End(leads, tables=tables)
        self._met[key] = entry
        return _End(leads, tables=tables, below=self.branches(below))

    def _mapped(self, group: _Group, layer: Layer, first: int, last: int) -> int:
        """Bytes that a run maps, in all copies; the copies are of one shape, and so of one size."""
        place = int(group.places[0])
        sums = self._sums.get((group.depth, place))
        if sums is None:
            sums = self._sums[group.depth, place] = self._sums_of(layer, place, group.depth)
        return (sums[last + 1] - sums[first]) * group.count

    def _sums_of(self, layer: Layer, place: int, depth: int) -> list[int]:
        """How many bytes the entries before each index of a table map, and last what all do."""
        sizes = np.where(kinds_of(layer.codes[place]) == layer_codes.PAGE, np.uint64(layer.form.page_bytes), np.uint64(0))
        child = layer.child[place]
        there = child >= 0
        if there.any():
            sizes[there] += self.layers[depth + 1].mapped[child[there]]
        return [0, *integers(np.cumsum(sizes))]

    def _rest(self, group: _Group, layer: Layer, runs: list[tuple[int, int]]) -> Branch:
        """What is not told one by one, from the first index on to the last."""
        first, last = runs[0][0], runs[-1][1]
        virt = group.virt + first * layer.form.page_bytes
        entry = self._entry(layer, int(group.places[0]), first)
        mapped = sum(self._mapped(group, layer, *run) for run in runs)
        end = self._address(virt + (last - first + 1) * layer.form.page_bytes - 1)
        return Branch(entry, last, self._address(virt), end, Leads.REST, group.granted, 0, mapped, group.count, rest=len(runs))


def _pieces(layer: Layer, group: _Group, first: int, last: int) -> int:
    """In how many pieces the frames of a run lie, over all copies; 0 where there are too many to be counted."""
    if group.count > len(group.places):
        return 0
    form = layer.form
    values = np.stack([layer.tables[place][first : last + 1] for place in integers(group.places)])
    frames = values & np.uint64(form.frame_mask)
    if form.high_mask:
        frames |= (values & np.uint64(form.high_mask)) << np.uint64(bits.PSE36_SHIFT)
    goes_on = np.count_nonzero(frames[:, 1:] - frames[:, :-1] == np.uint64(form.page_bytes))
    if last - first + 1 == form.entries:  # whole tables: the next one goes on where this ends
        goes_on += np.count_nonzero(frames[1:, 0] - frames[:-1, -1] == np.uint64(form.page_bytes))
    return int(frames.size - goes_on)
