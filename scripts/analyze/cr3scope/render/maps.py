"""How effective mappings read: as text, and as the contract ``cr3scope.maps/1``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from cr3scope.arrays import integers
from cr3scope.model.range_names import RangeName, RangeNames
from cr3scope.paging.effective import RIGHT_EXECUTE, RIGHT_USER, RIGHT_WRITE, Kind, Mappings
from cr3scope.paging.tables import Tables
from cr3scope.render.columns import (
    PHYS_DIGITS,
    Cells,
    blocks,
    choices,
    hex_digits,
    lines,
    quoted_hex,
)
from cr3scope.render.sizes import page_name, size_text
from cr3scope.render.table import Block, Cell, Table, lines_of
from cr3scope.text import printable
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.names import entry_name

SCHEMA = "cr3scope.maps/1"
_MOST_NAMED = 1 << 14  # a veto costs a walk; a list longer than this nobody reads
_VETO_HEAD = "denied above the leaf"
_MOST_PIECES = 8  # names of one range
_LONGEST_NAME = 60  # a trace may say anything


def json_text(
    found: Mappings, warnings: Sequence[str], names: RangeNames | None = None
) -> Iterator[str]:
    """Yield the JSON document in pieces, a line for each range.

    ``paging`` is the mode, ``size`` is that of the pages; ``name`` is null where nobody told.
    """
    yield f'{{"schema": {json.dumps(SCHEMA)}, "paging": {json.dumps(found.mode.value)}, "mappings": [\n'
    ends = _by_attributes(
        found,
        lambda kind: f',"size":{kind.page_bytes},"rights":"{kind.rights}",'
        f'"level":{kind.level},"memory_type":"{kind.memory_type}","name":',
    )
    for block in blocks(len(found)):
        cells = (
            '{"first":', quoted_hex(found.first[block]),
            ',"last":', quoted_hex(found.last[block]),
            ',"phys":', quoted_hex(found.phys[block]),
            ends[found.attributes[block].astype(np.intp)], _names_of(names, block, json.dumps, "null"), "},\n",
        )  # fmt: skip
        text = lines(cells, block.stop - block.start)
        yield text if block.stop < len(found) else text[: -len(",\n")] + "\n"
    yield f'], "warnings": {json.dumps(list(warnings))}}}\n'


def as_text(
    found: Mappings, tables: Tables, cpu: CpuState, description: str, names: RangeNames | None = None
) -> Iterator[str]:
    """Yield :func:`as_blocks` as lines."""
    return lines_of(as_blocks(found, tables, cpu, description, names))


def as_blocks(
    found: Mappings, tables: Tables, cpu: CpuState, description: str, names: RangeNames | None = None
) -> Iterator[Block]:
    """Yield totals, what was looked at, then a line for each range, with its name if a trace has named any."""
    yield summary(found)
    yield description
    if not len(found):
        return
    yield ""
    if len(found) <= _MOST_NAMED:
        yield _table(found, tables, cpu, names)
        return
    width = max(4, *(len(kind.memory_type) for kind in found.kinds().values()))
    yield f"{'first':<16}  {'last':<16}  {'phys':<13}  rights  {'type':<{width}}  page{'  name' if names else ''}"
    ends = _by_attributes(
        found,
        lambda kind: f"  {kind.rights:<6}  {kind.memory_type:<{width}}  {page_name(kind.page_bytes)}",
    )
    for block in blocks(len(found)):
        cells = (
            hex_digits(found.first[block]), "  ", hex_digits(found.last[block]), "  ",
            hex_digits(found.phys[block], PHYS_DIGITS),
            ends[found.attributes[block].astype(np.intp)], _names_of(names, block, _after_page, ""), "\n",
        )  # fmt: skip
        yield lines(cells, block.stop - block.start)[:-1]


def name_words(name: RangeName) -> str:
    """Return ``loader text, handoff code``.

    ``in it: stack 0x1000..0x1fff`` where the rest of the range has no name; ``frames of boot info`` where the
    address has none, but the memory behind it.
    """
    shown = []
    for piece in name.pieces[:_MOST_PIECES]:
        words = printable(piece.name[:_LONGEST_NAME])
        shown.append(words if name.is_whole else f"{words} {piece.first:#x}..{piece.last:#x}")
    if len(name.pieces) > _MOST_PIECES:
        shown.append(f"and {len(name.pieces) - _MOST_PIECES} more")
    before = "frames of " if name.by_frame else "" if name.is_whole else "in it: "
    return before + ", ".join(shown)


def _names_of(
    names: RangeNames | None, block: slice, form: Callable[[str], str], nothing: str
) -> Cells | str:
    """The names of some rows."""
    if names is None:
        return nothing
    kinds, which = np.unique(names.of_row[block], return_inverse=True)
    texts = [nothing if kind < 0 else form(name_words(names.names[kind])) for kind in integers(kinds)]
    return choices(texts)[which]


def _after_page(name: str) -> str:
    return "    " + name.encode("ascii", "backslashreplace").decode()


def _table(found: Mappings, tables: Tables, cpu: CpuState, names: RangeNames | None) -> Table:
    """With what entries above the leaves deny: that costs a walk for each row."""
    kinds = found.kinds()
    columns = (found.first, found.last, found.phys, found.attributes)
    words = [*(name_words(name) for name in names.names), ""] if names else [""]  # the last: of rows without
    called = integers(names.of_row) if names else [-1] * len(found)
    rows = []
    for first, last, phys, attributes, name in zip(*map(integers, columns), called):
        kind = kinds[attributes]
        rows.append((
            Cell(f"{first:016x}"), Cell(f"{last:016x}"), Cell(f"{phys:013x}"),
            Cell(kind.rights, _style(kind.rights)), Cell(kind.memory_type),
            Cell(page_name(kind.page_bytes)),
            Cell("; ".join(filter(None, (words[name], " ".join(inherited_vetoes(tables, cpu, first))))), "dim"),
        ))  # fmt: skip
    told = f"name; {_VETO_HEAD}" if names else _VETO_HEAD
    return Table(("first", "last", "phys", "rights", "type", "page", told), rows)


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


def summary(found: Mappings) -> str:
    """Return how much is mapped, and how much of it a program could write and then execute."""
    sizes = found.last - found.first + np.uint64(1)

    def total(rights: np.uint64) -> str:
        return size_text(int(sizes[found.attributes & rights == rights].sum()))

    count = f"{len(found)} range" + ("s" if len(found) != 1 else "")
    return (
        f"{count}, {total(np.uint64(0))} mapped; {total(RIGHT_WRITE | RIGHT_EXECUTE)} writable and"
        f" executable, {total(RIGHT_USER)} open to user mode"
    )


def incompleteness(found: Mappings) -> Iterator[str]:
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


def _by_attributes(found: Mappings, words: Callable[[Kind], str]) -> Cells:
    """The words of each kind, to index with ``attributes``."""
    kinds = found.kinds()
    last = max(kinds, default=0)
    return choices([words(kinds[value]) if value in kinds else "" for value in range(last + 1)])
