"""The levels of an address space as strips for a terminal: a cell for each entry of the tables on one address's way.

The page draws the same (`report/page/strips.js`): a cell's colour is the rights of all levels down to its entry together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from cr3scope.arrays import integers
from cr3scope.dataclass import dataclass
from cr3scope.paging.tables import Tables, root_entries, table_entries
from cr3scope.paging.walk import Walk, stops
from cr3scope.render.sizes import size_text
from cr3scope.render.walk import bit_names
from cr3scope.x86 import entry as bits
from cr3scope.x86.access import EntryRef
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.names import entry_words

COLUMNS, _ROWS_OF_A_LINE = 64, 2
_INDENT = " " * 4
_ALL = "wxu"
ABSENT, RESERVED, MARKED = "absent", "reserved", "here"
# Of the rights that are granted, as a letter and as a colour.
_LETTERS = {"": "r", "w": "w", "x": "x", "wx": "b", ABSENT: ".", RESERVED: "!"}
_CAPITALS = {ABSENT: "O", RESERVED: "#"}
COLOURS = {
    "": "#8a94a3", "w": "#4f8fd6", "x": "#4fae57", "wx": "#d9a520", ABSENT: "#2a2e35", RESERVED: "#a24fc4", MARKED: "#ffffff",
}  # fmt: skip
NAMES = {
    "": "read only", "w": "writable", "x": "executable", "wx": "both", RESERVED: "reserved bit", ABSENT: "not present", MARKED: "on the way",
}  # fmt: skip
LEGEND = "r read only, w writable, x executable, b both, ! reserved bit, . not present; on the way: in capitals, # for !, O for ."


@dataclass(frozen=True, slots=True)
class StripCell:
    """An entry as its cell shows it. ``kind``: the letters of ``wx`` that are granted down to it, or that it is absent or refused;
    ``denies``: those of them that it takes away itself; ``value``: that of the entry."""

    kind: str
    is_here: bool
    denies: str
    value: int


@dataclass(frozen=True, slots=True)
class Strip:
    """One table on the way of an address: the entry that the address takes, where the table lies, the rights that the levels above
    grant."""

    entry: EntryRef
    table: int
    granted: str
    cells: tuple[StripCell, ...]


def levels(tables: Tables, cpu: CpuState, path: Walk) -> Iterator[Strip]:
    """Yield the tables of a walk, from the top."""
    granted = _ALL
    for entry in path.entries:
        form, at = entry.form, entry.phys - entry.index * entry.form.entry_bytes
        table = root_entries(tables, cpu) if entry is path.entries[0] else table_entries(tables, form, at)
        if table is None:
            return
        cells = (_cell(form, value, granted, cpu, index == entry.index) for index, value in enumerate(integers(table)))
        yield Strip(entry, at, granted, tuple(cells))
        granted = _through(form, entry.value, granted)


def _cell(form: bits.EntryFormat, value: int, granted: str, cpu: CpuState, is_here: bool) -> StripCell:
    kind = _kind(form, value, granted, cpu)
    taken = "" if kind in (ABSENT, RESERVED) else "".join(letter for letter in granted if letter != "u" and letter not in kind)
    return StripCell(kind, is_here, taken, value)


def strips(tables: Tables, cpu: CpuState, path: Walk, colour: bool) -> Iterator[str]:
    """Yield the strips of a walk from the top, each with its chosen entry in words; ``colour``: in half blocks, two rows of
    cells in a line."""
    is_lettered, has_colours = not colour, False
    for strip in levels(tables, cpu, path):
        yield head(strip)
        rows = [strip.cells[at : at + COLUMNS] for at in range(0, len(strip.cells), COLUMNS)]
        is_painted = colour and not len(rows) % _ROWS_OF_A_LINE
        is_lettered = is_lettered or not is_painted  # the four entries of PAE make no line of two rows
        has_colours = has_colours or is_painted
        yield from _painted(rows) if is_painted else _folded(map(_plain, rows))
        yield from (f"{_INDENT}{line}" for line in words(strip, cpu))
    if has_colours:
        yield _painted_legend()
    if is_lettered:
        yield f"{_INDENT}{LEGEND}"


def head(strip: Strip) -> str:
    """Return which table it is, and what each of its entries covers."""
    form = strip.entry.form
    return f"{bits.LEVEL_NAMES[form.level]} at {strip.table:#x}: each cell {size_text(form.page_bytes)}"


def _kind(form: bits.EntryFormat, value: int, granted: str, cpu: CpuState) -> str:
    if not value & bits.PRESENT:
        return ABSENT
    if stops(form, value, cpu) is not None:
        return RESERVED
    return _through(form, value, granted).replace("u", "")


def _through(form: bits.EntryFormat, value: int, granted: str) -> str:
    """What is left of the rights that the levels above grant."""
    denied = form.denied_rights(value)
    return "".join(letter for letter in granted if letter not in denied)


def rights_text(form: bits.EntryFormat, value: int, granted: str) -> str:
    """Return what an entry that the walk goes through leaves of the rights that are granted above it, as `rw-u`."""
    left = _through(form, value, granted)
    return "r" + "".join(letter if letter in left else "-" for letter in _ALL)


def _plain(row: Sequence[StripCell]) -> str:
    letters = (_letter(cell) for cell in row)
    return _INDENT + "".join(letters)


def _folded(rows: Iterator[str]) -> Iterator[str]:
    """Rows, and instead of more that are equal how many they are."""
    for row, equal in groupby(rows):
        yield row
        more = sum(1 for _ in equal) - 1
        if more:
            yield f"{_INDENT}and {more} more row{'' if more == 1 else 's'} of the same"


def _letter(cell: StripCell) -> str:
    letter = _LETTERS[cell.kind]
    return _CAPITALS.get(cell.kind, letter.upper()) if cell.is_here else letter


def _painted(rows: Sequence[Sequence[StripCell]]) -> Iterator[str]:
    from rich.style import Style

    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        pairs = ((_colour(above), _colour(below)) for above, below in zip(upper, lower, strict=True))
        yield _INDENT + "".join(Style(color=above, bgcolor=below).render("▀") for above, below in pairs)


def _painted_legend() -> str:
    from rich.style import Style

    return _INDENT + "  ".join(f"{Style(color=COLOURS[kind]).render('■')} {name}" for kind, name in NAMES.items())


def _colour(cell: StripCell) -> str:
    return COLOURS[MARKED if cell.is_here else cell.kind]


def words(strip: Strip, cpu: CpuState) -> Iterator[str]:
    """Yield the chosen entry in words, then what it comes to."""
    entry, granted = strip.entry, strip.granted
    yield f"{entry_words(entry)}  {bit_names(entry)}".rstrip()
    stop = stops(entry.form, entry.value, cpu)
    if stop is not None:
        yield stop.value
        return
    left = _through(entry.form, entry.value, granted)
    lost = [letter for letter in granted if letter not in left and letter != "u"]
    rights = rights_text(entry.form, entry.value, granted)
    where = "maps" if entry.is_leaf else "leads to the table at"
    takes = f", takes away {' and '.join(lost)}" if lost else ""
    yield f"{where} {entry.frame:#x}; {rights} so far{takes}"
