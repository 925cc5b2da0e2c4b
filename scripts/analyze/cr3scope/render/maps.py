"""How effective mappings read: as text, and as the contract ``cr3scope.maps/1``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cr3scope.paging import entry as bits
from cr3scope.paging.cpu import CpuState
from cr3scope.paging.effective import Mappings, rights_text
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import walk
from cr3scope.verdict import EntryRef

SCHEMA = "cr3scope.maps/1"
SIZE_NAMES = {1: "4K", 2: "2M", 3: "1G"}
_RIGHTS = [rights_text(attributes) for attributes in range(8)]
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_MOST_NAMED = 1 << 14  # a veto costs a walk; a list longer than this nobody reads


@dataclass(frozen=True, slots=True)
class Row:
    """One merged range, both ends inclusive."""

    first: int
    last: int
    phys: int
    level: int
    rights: str
    memory_type: str


def rows(found: Mappings) -> Iterator[Row]:
    """The ranges in the order of their addresses."""
    types = found.memory_types()
    columns = (
        found.first, found.last, found.phys, found.levels, found.attributes, found.pat_indices
    )  # fmt: skip
    for first, last, phys, level, rights, pat in zip(*(column.tolist() for column in columns)):
        yield Row(first, last, phys, level, _RIGHTS[rights & 7], types[pat])


def as_dict(found: Mappings, warnings: Sequence[str]) -> dict[str, object]:
    """The plain values of the JSON document; ``size`` is that of the pages, in bytes."""
    return {
        "schema": SCHEMA,
        "mappings": [
            {
                "first": f"{row.first:#x}",
                "last": f"{row.last:#x}",
                "phys": f"{row.phys:#x}",
                "size": bits.level_bytes(row.level),
                "rights": row.rights,
                "level": row.level,
                "memory_type": row.memory_type,
            }
            for row in rows(found)
        ],
        "warnings": list(warnings),
    }


def as_text(found: Mappings, tables: Tables, cpu: CpuState) -> Iterator[str]:
    """A line of totals, then a line for each range."""
    yield summary(found)
    if not len(found):
        return
    yield ""
    heads = ("first", "last", "phys", "rights", "page", "type", "vetoed above the leaf")
    yield "{:<16}  {:<16}  {:<13}  {:<6}  {:<4}  {:<4}  {}".format(*heads)
    named = len(found) <= _MOST_NAMED
    for row in rows(found):
        veto = inherited_vetoes(tables, cpu, row.first) if named else ""
        yield (
            f"{row.first:016x}  {row.last:016x}  {row.phys:013x}  {row.rights:<6}"
            f"  {SIZE_NAMES[row.level]:<4}  {row.memory_type:<4}  {veto}"
        ).rstrip()


def inherited_vetoes(tables: Tables, cpu: CpuState, virt: int) -> str:
    """What the leaf grants and an entry above it denies: the rights that a leaf's own bits hide."""
    path = walk(tables, cpu, virt)
    if path.stop is not None or len(path.entries) < 2:
        return ""
    *above, leaf = path.entries
    told = (("w", bits.WRITABLE, 0), ("x", 0, bits.NO_EXECUTE), ("u", bits.USER, 0))
    return " ".join(
        f"{letter}:{','.join(bits.entry_name(e.level, e.index) for e in deniers)}"
        for letter, granting, denying in told
        if not _denies(leaf, granting, denying)
        and (deniers := [e for e in above if _denies(e, granting, denying)])
    )


def _denies(entry: EntryRef, granting: int, denying: int) -> bool:
    return bool(~entry.value & granting or entry.value & denying)


def summary(found: Mappings) -> str:
    """How much is mapped, and how much of it a program could write and then execute."""
    total = both = users = 0
    for row in rows(found):
        size = row.last - row.first + 1
        total += size
        both += size if "w" in row.rights and "x" in row.rights else 0
        users += size if "u" in row.rights else 0
    count = f"{len(found)} range" + ("s" if len(found) != 1 else "")
    return (
        f"{count}, {size_text(total)} mapped; {size_text(both)} writable and executable,"
        f" {size_text(users)} open to user mode"
    )


def size_text(size: int) -> str:
    """``2 MiB``, with one decimal where it is not whole."""
    unit = 0
    value = float(size)
    while round(value, 1) >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if value.is_integer() else f"{value:.1f} {_UNITS[unit]}"


def incompleteness(found: Mappings) -> Iterator[str]:
    """What keeps the list from being the whole truth, one line each."""
    for entry in found.missing:
        if entry.level > 5 or entry.phys == 0:
            yield f"the source does not hold the table at CR3 {entry.value:#x}"
        else:
            name = bits.entry_name(entry.level, entry.index)
            table = bits.frame(entry.value, entry.level)
            yield f"the source does not hold the table at {table:#x}, to which {name} points"
    for entry in found.reserved:
        name = bits.entry_name(entry.level, entry.index)
        yield f"{name} at {entry.phys:#x} has a reserved bit set: what it maps faults"
    if found.is_cut:
        yield "the tables map more ranges than are listed"
