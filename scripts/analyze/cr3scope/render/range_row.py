"""How one mapped range reads, and what is said of all of them: the words of `maps`, whoever found the ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from cr3scope.paging.plain_ranges import PlainRanges
from cr3scope.paging.range_kind import Kind
from cr3scope.paging.tables import Tables
from cr3scope.render.sizes import page_name, size_text
from cr3scope.render.table import Block, Cell, Table, lines_of
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.names import entry_name

VETO_HEAD = "denied above the leaf"
HEADINGS = ("first", "last", "phys", "rights", "type", "page")


class Told(Protocol):
    """What keeps ranges from being the whole truth."""

    @property
    def missing(self) -> Sequence[EntryRef]:
        """Return the entries that point to a table which cannot be read."""

    @property
    def reserved(self) -> Sequence[EntryRef]:
        """Return the entries that fault for a reserved bit."""

    @property
    def is_cut(self) -> bool:
        """Return whether there are more ranges."""

    @property
    def missing_root(self) -> int | None:
        """Return the address of the top table if it cannot be read."""


def plain_text(found: PlainRanges, tables: Tables, cpu: CpuState, description: str) -> Iterator[str]:
    """Yield totals, what was looked at, then a line for each range, as `render/maps.py` does for numpy's."""
    return lines_of(_plain_blocks(found, tables, cpu, description))


def _plain_blocks(found: PlainRanges, tables: Tables, cpu: CpuState, description: str) -> Iterator[Block]:
    def total(letters: str) -> int:
        return sum(one.last - one.first + 1 for one in found.ranges if set(letters) <= set(one.kind.rights))

    yield summary_words(len(found.ranges), total(""), total("wx"), total("u"))
    yield description
    if found.ranges:
        yield ""
        rows = [(*cells(one.first, one.last, one.phys, one.kind), veto_cell(tables, cpu, one.first)) for one in found.ranges]
        yield Table((*HEADINGS, VETO_HEAD), rows)


def cells(first: int, last: int, phys: int, kind: Kind) -> tuple[Cell, ...]:
    """Return the fields of a range that every list has."""
    return (
        Cell(f"{first:016x}"), Cell(f"{last:016x}"), Cell(f"{phys:013x}"),
        Cell(kind.rights, _style(kind.rights)), Cell(kind.memory_type), Cell(page_name(kind.page_bytes)),
    )  # fmt: skip


def veto_cell(tables: Tables, cpu: CpuState, virt: int, name: str = "") -> Cell:
    """Return the last field: the range's name, if it has one, and what entries above its leaves deny."""
    return Cell("; ".join(filter(None, (name, " ".join(inherited_vetoes(tables, cpu, virt))))), "dim")


def _style(rights: str) -> str:
    """What can be written and then executed, or is open to user mode, stands out."""
    if "w" in rights and "x" in rights:
        return "error"
    return "warning" if "u" in rights else ""


def inherited_vetoes(tables: Tables, cpu: CpuState, virt: int) -> list[str]:
    """Return what the leaf grants and an entry above it denies: the rights that a leaf's own bits hide.

    Each is as ``PML4[510]:wx``, from the top. A range that spans several upper entries may meet others further
    on.
    """
    from cr3scope.paging.walk import walk  # not for a list that is too long to name vetoes

    path = walk(tables, cpu, virt)
    if path.stop is not None:
        return []
    *above, leaf = path.entries
    granted = set("wxu") - set(leaf.form.denied_rights(leaf.value))
    hidden = [
        (entry, "".join(right for right in entry.form.denied_rights(entry.value) if right in granted))
        for entry in above
    ]
    return [f"{entry_name(e)}:{rights}" for e, rights in hidden if rights]


def summary_words(count: int, mapped: int, writable_code: int, user: int) -> str:
    """Return how much is mapped, in bytes, and how much of it a program could write and then execute."""
    return (
        f"{count} range{'s' if count != 1 else ''}, {size_text(mapped)} mapped; {size_text(writable_code)} writable and"
        f" executable, {size_text(user)} open to user mode"
    )


def incompleteness(found: Told) -> Iterator[str]:
    """Yield what keeps the list from being the whole truth, one line each."""
    if found.missing_root is not None:
        yield f"the source does not hold the top table at {found.missing_root:#x}"
    for entry in found.missing:
        table = entry.frame
        yield f"the source does not hold the table at {table:#x}, to which {_place(entry)} points"
    for entry in found.reserved:
        yield f"{_place(entry)} has a reserved bit set ({entry.value:#x}): what it maps faults"
    if found.is_cut:
        yield "the tables map more ranges than are listed"


def _place(entry: EntryRef) -> str:
    return f"{entry_name(entry)} at {entry.phys:#x}"
