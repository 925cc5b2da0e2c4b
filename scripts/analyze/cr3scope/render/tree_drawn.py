"""The tree of an address space as a picture: SVG, or a graph for graphviz."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cr3scope import limits
from cr3scope.paging.folded import Folded, Leads
from cr3scope.paging.layers import Marks
from cr3scope.render import dot, svg
from cr3scope.render.tree import Names, Row, rights_cell, rows, run_name, taken_letters, total

_GRANTED, _LOST, _FRAME, _DIM, _TAKEN = "#4f8fd6", "#ffffff", "#8a94a3", "#5b6572", "#8a5a00"
_BOX, _STEP = 10, 14
_FIELDS = (0, 20, 39, 48, 54, 62, 81)  # where each column begins, in characters


def as_svg(tree: Folded, description: str, names: Names, marks: Marks) -> Iterator[str]:
    """Yield a picture line by line: a line of it for each branch, and a box for each right, hatched where it is taken away."""
    kept, left_out = _drawn(tree, names, marks)
    head = f"{description}: {total(tree)}"
    shapes: list[str] = [svg.text(0, svg.LINE, head, bold=True)]
    y = 2.0 * svg.LINE
    heads = ("entries", "first", "maps", "type", "r w x u", "value", "")
    shapes += [svg.text(at * svg.CHARACTER, y, words, _DIM) for at, words in zip(_FIELDS, heads, strict=True)]
    y += 6
    width = max(len(head), _FIELDS[-1])
    above: list[float] = []  # where the last line of each depth stands
    for row in kept:
        y += svg.LINE
        shapes += _svg_row(row, y)
        if row.depth:
            x = (row.depth - 1) * 2 * svg.CHARACTER + 3
            shapes += [svg.line(x, above[row.depth - 1] + 3, x, y - 4), svg.line(x, y - 4, x + 9, y - 4)]
        above[row.depth :] = [y]
        width = max(width, _FIELDS[-1] + len(row.cells[-1]))
        for words in row.blame:
            y += svg.LINE
            shapes.append(svg.text((2 * row.depth + 2) * svg.CHARACTER, y, words, dot.BLAMED if row.rule else _TAKEN, bold=bool(row.rule)))
            width = max(width, 2 * row.depth + 2 + len(words))
    for words in (*_left_out(tree, left_out), "a filled box: the right is left down to here; hatched: taken away by these entries; empty: lost further up"):
        y += svg.LINE + 4
        shapes.append(svg.text(0, y, words, _DIM))
        width = max(width, len(words))
    yield from svg.document(width * svg.CHARACTER, y, head, shapes)


def _svg_row(row: Row, y: float) -> Iterator[str]:
    entries, first, size, kind, _, value, note = row.cells
    depth = len(entries) - len(entries.lstrip())
    colour = dot.BLAMED if row.rule else _DIM if row.branch.leads is Leads.EMPTY else "#1d232b"
    yield svg.text(depth * svg.CHARACTER, y, entries.lstrip(), colour, bold=bool(row.rule))
    texts = (first, f"{size:>7}", kind, "", value, note)
    for at, words in zip(_FIELDS[1:], texts, strict=True):
        if words.strip():
            yield svg.text((at + len(words) - len(words.lstrip())) * svg.CHARACTER, y, words.lstrip(), colour)
    for number, letter in enumerate(rights_cell(row.branch)):
        fill = "url(#taken)" if letter == "!" else _LOST if letter == "-" else _GRANTED
        yield svg.rect(_FIELDS[4] * svg.CHARACTER + number * _STEP, y - _BOX, _BOX, _BOX, fill, _FRAME, _words("rwxu"[number], letter))


def _words(right: str, letter: str) -> str:
    return f"{right}: " + {"!": "taken away by these entries", "-": "lost further up"}.get(letter, "left")


def as_dot(tree: Folded, description: str, names: Names, marks: Marks) -> Iterator[str]:
    """Yield a graph line by line: a box for each branch; red where a right is taken away or a rule blames the entries, dashed
    where a branch leads to tables that another one shows."""
    kept, left_out = _drawn(tree, names, marks)
    root = f"CR3 {tree.cpu.cr3:#x}"
    lines = [dot.node(0, [root, total(tree), *_left_out(tree, left_out)])]
    places = {(row.branch.entry.level, row.branch.entry.phys): number for number, row in enumerate(kept, 1)}
    way: list[int] = [0]
    for number, row in enumerate(kept, 1):
        branch, (_, first, size, kind, rights, value, note) = row.branch, row.cells
        del way[row.depth + 1 :]
        words = [run_name(branch), first, " ".join(filter(None, (size, kind, rights, value)))]
        words += [*filter(None, [note]), *row.blame]
        lines.append(dot.node(number, words, **({"color": dot.BLAMED} if row.rule else {})))
        lost = "".join(letter for letter in taken_letters(branch) if letter != "u") if row.blame else ""
        lines.append(dot.edge(way[-1], number, **({"color": dot.BLAMED, "label": f"-{lost}"} if lost else {})))
        target = places.get((branch.again.level, branch.again.phys)) if branch.again is not None else None
        if branch.leads is Leads.BACK:  # the table is that of its ancestor's entries, to which the box above them leads
            target = next((at for at in way if _level_below(kept, at) == branch.back), None)
        if target is not None:
            lines.append(dot.edge(number, target, style="dashed", constraint="false"))
        way.append(number)
    yield from dot.document(description, lines)


def _level_below(kept: Sequence[Row], number: int) -> int:
    """The level of the table to which a box leads; 0 is the root's."""
    return kept[0].branch.entry.level if not number else kept[number - 1].branch.entry.level - 1


def _drawn(tree: Folded, names: Names, marks: Marks) -> tuple[list[Row], int]:
    """The first lines and all that are blamed, with those above them, and how many more there are."""
    every = list(rows(tree, names, marks))
    kept = every[: limits.DRAWN_LINES]
    there = set(map(id, kept))
    above: list[Row] = []
    for number, row in enumerate(every):
        del above[row.depth :]
        above.append(row)
        if number >= limits.DRAWN_LINES and row.rule and len(kept) < 2 * limits.DRAWN_LINES:
            fresh = [one for one in above if id(one) not in there]
            kept += fresh
            there.update(map(id, fresh))
    return kept, len(every) - len(kept)


def _left_out(tree: Folded, lines: int) -> Iterator[str]:
    if lines:
        yield f"{lines} more lines are not drawn"
    if tree.left_out:
        yield f"{tree.left_out} more runs of entries are not told one by one"
    if tree.is_cut:
        yield "there are more tables than were read"
