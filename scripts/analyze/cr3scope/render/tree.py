"""How an address space reads as a tree: as text, and as the contract ``cr3scope.tree/1``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from cr3scope.dataclass import dataclass
from cr3scope.paging.folded import Branch, Folded, Leads
from cr3scope.paging.layers import Marks
from cr3scope.paging.range_kind import memory_types, rights_text
from cr3scope.render.sizes import page_name, size_text
from cr3scope.render.table import GAP, WIDTH, Block, Cell
from cr3scope.render.wrapped import wrapped
from cr3scope.text import printable
from cr3scope.x86 import entry as bits
from cr3scope.x86.access import EntryRef
from cr3scope.x86.names import entry_name, entry_words

SCHEMA = "cr3scope.tree/1"
_HEADINGS = ("entries", "first", "maps", "type", "rwxu", "value", "")
_INDENT = "  "
_LEAST_NOTE = 16
LEGEND = (
    "rwxu: the rights that are left down to here; ! is taken away by these entries, - further up. A run of entries that say the same"
    " is one line, with the value of its first."
)
Names = Mapping[tuple[int, int], str]  # of a page's branch, by its level and first address


@dataclass(frozen=True, slots=True)
class Row:
    """A branch as its line says it. ``blame``: whole lines that belong below it; ``rule``: that of a finding, or ""."""

    depth: int
    branch: Branch
    cells: tuple[str, ...]
    blame: tuple[str, ...]
    rule: str


def rows(tree: Folded, names: Names, marks: Marks) -> Iterator[Row]:
    """Yield the branches in the order of their addresses, each before what is below it."""
    yield from _rows(tree, tree.branches, 0, False, names, marks)


def _rows(
    tree: Folded, branches: Sequence[Branch], depth: int, is_one_table: bool, names: Names, marks: Marks
) -> Iterator[Row]:
    for branch in branches:
        rule = marks.get((branch.entry.level, branch.entry.phys), "")
        is_told = branch.leads is not Leads.REST
        cells = (
            f"{_INDENT * depth}{run_name(branch)}", f"{branch.first:0{8 if tree.cpu.has_short_addresses else 16}x}",
            page_name(branch.mapped), memory_type(tree, branch), rights_cell(branch),
            f"{branch.entry.value:x}" if is_told else "", "; ".join(_notes(branch, is_one_table, names)),
        )  # fmt: skip
        yield Row(depth, branch, cells, tuple(_blame(branch, rule)), rule)
        yield from _rows(tree, branch.below, depth + 1, branch.tables == 1, names, marks)


def as_blocks(tree: Folded, description: str, names: Names, marks: Marks) -> Iterator[Block]:
    """Yield totals, what was looked at, then a line for each branch, and below it what it takes away from all that follows."""
    yield total(tree)
    yield description
    lines = list(rows(tree, names, marks))
    if not lines:
        return
    yield ""
    texts = [_HEADINGS, *(row.cells for row in lines)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)][:-1]
    yield Cell(_line(_HEADINGS, widths), "bold")
    for row in lines:
        style = "error" if row.rule else "note" if row.blame else "dim" if row.branch.leads in _NOTHING else ""
        room = max(WIDTH - sum(widths) - GAP * len(widths), _LEAST_NOTE)
        note, *more = wrapped(row.cells[-1], room) or [""]
        yield Cell(_line((*row.cells[:-1], note), widths), style)
        indent = " " * (sum(widths) + GAP * len(widths))
        yield from (Cell(f"{indent}{line}", style) for line in more)
        indent = _INDENT * (row.depth + 1)
        for words in row.blame:
            yield from (Cell(line, style) for line in wrapped(f"{indent}^ {words}", WIDTH, indent=f"{indent}  ", on_hyphens=True))
    yield ""
    yield from wrapped(LEGEND, WIDTH, on_hyphens=True)


def total(tree: Folded) -> str:
    """Return how much is mapped, and by how many tables."""
    return f"{'at least ' if tree.is_cut else ''}{size_text(tree.mapped)} mapped by {tree.tables} table{'' if tree.tables == 1 else 's'}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    entries, first, size, *rest = cells
    fields = [f"{entries:<{widths[0]}}", f"{first:<{widths[1]}}", f"{size:>{widths[2]}}"]
    fields += [f"{text:<{width}}" for text, width in zip(rest[:-1], widths[3:], strict=True)]
    return (" " * GAP).join([*fields, rest[-1]]).rstrip()


_NOTHING = (Leads.ABSENT, Leads.EMPTY)


def run_name(branch: Branch) -> str:
    """Return ``PT[3]``, or ``PT[3..9]`` of several entries."""
    first, last = branch.entry.index, branch.last_index
    return entry_name(branch.entry) if first == last else f"{bits.LEVEL_NAMES[branch.entry.level]}[{first}..{last}]"


def rights_cell(branch: Branch) -> str:
    """Return ``rw!-``: what is left, ``!`` for what these entries take away; nothing of what maps nothing, and of
    several runs, each of which has its own."""
    if branch.leads in (Leads.ABSENT, Leads.REFUSED, Leads.REST):
        return ""
    left, before = rights_text(branch.granted), rights_text(branch.granted | branch.taken)
    return "".join("!" if one != other else one for one, other in zip(left, before, strict=True))


def taken_letters(branch: Branch) -> str:
    """Return the letters of ``wxu`` that the branch takes away of what was left."""
    left = rights_text(branch.granted)
    return "".join(letter for letter in rights_text(branch.granted | branch.taken) if letter not in left)


def memory_type(tree: Folded, branch: Branch) -> str:
    """Return the type that a page's PAT field has; "" of what is no page, and the number of a field that no CPU takes."""
    if branch.leads is not Leads.PAGE:
        return ""
    index = branch.entry.form.pat_index(branch.entry.value)
    name = memory_types(tree.cpu.pat)[index]
    return name if len(name) <= len("uc-") else f"{tree.cpu.pat >> 8 * index & 0xFF:#x}"


def _notes(branch: Branch, is_one_table: bool, names: Names) -> Iterator[str]:
    width = branch.last_index - branch.entry.index + 1
    pieces = branch.pieces // branch.copies if is_one_table else branch.pieces
    if branch.copies > 1:
        yield f"at {branch.copies} addresses" if is_one_table else f"in each of {branch.copies} tables"
    if branch.leads is Leads.TABLE and width > 1 and branch.tables == 1:
        yield "all to one table"
    elif branch.leads is Leads.TABLE and branch.tables > 1:
        yield f"{branch.tables} tables of one form"
    if branch.leads is Leads.TABLE and not branch.below:
        yield "what is below is not shown"
    if branch.leads is Leads.PAGE and pieces > 1:
        yield f"frames in {pieces} pieces"
    yield from _ENDS.get(branch.leads, ())
    if branch.leads is Leads.BACK:
        whose = "the first: " if branch.copies > 1 else ""
        yield f"{whose}back to the {bits.LEVEL_NAMES[branch.back]}, a self-map"
    if branch.again is not None:
        yield f"as below {entry_name(branch.again)}"
    if branch.leads is Leads.REST:
        yield f"{branch.rest} more runs"
    name = names.get((branch.entry.level, branch.first))
    if name is not None and branch.leads is Leads.PAGE:
        yield printable(name)


_ENDS = {
    Leads.ABSENT: ("not present",),
    Leads.EMPTY: ("leads to an empty table",),
    Leads.MISSING: ("its table is not in the source",),
    Leads.UNREAD: ("its table was not read",),
    Leads.REFUSED: ("a reserved bit is set: every access faults",),
}


def _blame(branch: Branch, rule: str) -> Iterator[str]:
    """What is wrong with the entries, or what they take away from all that is below them."""
    taken = [letter for letter in taken_letters(branch) if letter != "u"]
    each = "" if branch.last_index == branch.entry.index else ", each of them"
    takes = ""
    if taken and branch.leads not in (Leads.PAGE, Leads.REST):
        takes = f"takes {' and '.join(taken)} away from all below{each}: "
    if rule or takes:
        yield f"{rule and f'{rule}: '}{takes}{entry_words(branch.entry)}"


def json_text(tree: Folded, warnings: Sequence[str], names: Names, marks: Marks) -> Iterator[str]:
    """Yield the JSON document. Addresses are hex strings; ``rights`` are those down to the entries, ``takes`` what these take
    away; ``mapped`` is in bytes."""
    document = {
        "schema": SCHEMA,
        "paging": tree.cpu.paging_mode.value,
        "cr3": f"{tree.cpu.cr3:#x}",
        "mapped": tree.mapped,
        "tables": tree.tables,
        "left_out": tree.left_out,
        "entries": [_branch_dict(tree, branch, names, marks) for branch in tree.branches],
        "warnings": list(warnings),
    }
    yield json.dumps(document) + "\n"


def _branch_dict(tree: Folded, branch: Branch, names: Names, marks: Marks) -> dict[str, object]:
    is_page = branch.leads is Leads.PAGE
    return {
        "level": branch.entry.level,
        "index": branch.entry.index,
        "last_index": branch.last_index,
        "first": f"{branch.first:#x}",
        "last": f"{branch.last:#x}",
        "phys": f"{branch.entry.phys:#x}",
        "value": f"{branch.entry.value:#x}",
        "leads": branch.leads.value,
        "rights": rights_text(branch.granted),
        "takes": list(taken_letters(branch)),
        "mapped": branch.mapped,
        "copies": branch.copies,
        "page_size": branch.entry.form.page_bytes if is_page else None,
        "memory_type": memory_types(tree.cpu.pat)[branch.entry.form.pat_index(branch.entry.value)] if is_page else None,
        "pieces": branch.pieces or None,
        "tables": branch.tables or None,
        "again": None if branch.again is None else _place(branch.again),
        "back": branch.back or None,
        "runs": branch.rest or None,
        "name": names.get((branch.entry.level, branch.first)) if is_page else None,
        "rule": marks.get((branch.entry.level, branch.entry.phys)),
        "entries": [_branch_dict(tree, one, names, marks) for one in branch.below],
    }


def _place(entry: EntryRef) -> dict[str, object]:
    return {"level": entry.level, "index": entry.index, "phys": f"{entry.phys:#x}"}


def incompleteness(tree: Folded) -> Iterator[str]:
    """Yield what keeps the tree from being the whole truth, one line each."""
    if tree.is_cut:
        yield "there are more tables than were read: what they map is not counted"
    if tree.left_out:
        yield f"{tree.left_out} more runs of entries are not told one by one: `maps` lists what they map"
