"""How effective mappings read: as text, and as the contract ``cr3scope.maps/1``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from cr3scope.arrays import integers
from cr3scope.model.range_names import RangeName, RangeNames
from cr3scope.paging.effective import RIGHT_EXECUTE, RIGHT_USER, RIGHT_WRITE, Mappings
from cr3scope.paging.range_kind import Kind
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
from cr3scope.render.range_row import HEADINGS, VETO_HEAD, cells, summary_words, veto_cell
from cr3scope.render.sizes import page_name
from cr3scope.render.table import Block, Table, lines_of
from cr3scope.text import printable
from cr3scope.x86.cpu_state import CpuState

SCHEMA = "cr3scope.maps/1"
_MOST_NAMED = 1 << 14  # a veto costs a walk; a list longer than this nobody reads
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
        rows.append((*cells(first, last, phys, kinds[attributes]), veto_cell(tables, cpu, first, words[name])))
    return Table((*HEADINGS, f"name; {VETO_HEAD}" if names else VETO_HEAD), rows)


def summary(found: Mappings) -> str:
    """Return how much is mapped, and how much of it a program could write and then execute."""
    sizes = found.last - found.first + np.uint64(1)

    def total(rights: np.uint64) -> int:
        return int(sizes[found.attributes & rights == rights].sum())

    return summary_words(len(found), total(np.uint64(0)), total(RIGHT_WRITE | RIGHT_EXECUTE), total(RIGHT_USER))


def _by_attributes(found: Mappings, words: Callable[[Kind], str]) -> Cells:
    """The words of each kind, to index with ``attributes``."""
    kinds = found.kinds()
    last = max(kinds, default=0)
    return choices([words(kinds[value]) if value in kinds else "" for value in range(last + 1)])
