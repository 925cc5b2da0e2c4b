"""The tables on the way of an address as a picture: SVG, or a graph for graphviz."""

from __future__ import annotations

from collections.abc import Iterator

from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import Walk
from cr3scope.render import dot, svg
from cr3scope.render.strips import ABSENT, COLOURS, COLUMNS, NAMES, RESERVED, Strip, head, levels, words
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.entry import entry_name
from cr3scope.x86.names import value_words

_CELL, _GAP = 11, 1
_LEGEND = ("", "w", "x", "wx", RESERVED)


def as_svg(tables: Tables, cpu: CpuState, path: Walk, title: str) -> Iterator[str]:
    """Yield a picture line by line: a cell for each entry, coloured by the rights that are left, hatched where the entry itself
    takes one away, with a frame around the one on the way."""
    shapes = [svg.text(0, svg.LINE, title, bold=True)]
    y, widest = float(svg.LINE), len(title)
    for strip in levels(tables, cpu, path):
        y += 1.5 * svg.LINE
        shapes.append(svg.text(0, y, head(strip)))
        y += 6
        shapes += _cells(strip, y)
        y += (len(strip.cells) + COLUMNS - 1) // COLUMNS * (_CELL + _GAP)
        for line in words(strip, cpu):
            y += svg.LINE
            shapes.append(svg.text(0, y, line))
            widest = max(widest, len(line))
    y += 2 * svg.LINE
    at = 0.0
    for kind in _LEGEND:
        name = NAMES[kind]
        shapes += [svg.rect(at, y - _CELL, _CELL, _CELL, COLOURS[kind]), svg.text(at + _CELL + 5, y, name)]
        at += (len(name) + 3) * svg.CHARACTER
    y += svg.LINE
    shapes += [svg.rect(0, y - _CELL, _CELL, _CELL, "url(#taken)", "#8a94a3"), svg.text(_CELL + 5, y, "this entry takes w or x away; white: not present")]
    width = max(widest * svg.CHARACTER, COLUMNS * (_CELL + _GAP), at)
    yield from svg.document(width, y, title, shapes)


def _cells(strip: Strip, y: float) -> Iterator[str]:
    form, framed = strip.entry.form, ""
    for index, cell in enumerate(strip.cells):
        x, top = index % COLUMNS * (_CELL + _GAP), y + index // COLUMNS * (_CELL + _GAP)
        title = entry_name(form.level, index)
        if cell.kind != ABSENT:
            yield svg.rect(x, top, _CELL, _CELL, COLOURS[cell.kind], title=title)
        if cell.denies:
            yield svg.rect(x, top, _CELL, _CELL, "url(#taken)", title=f"{title} takes away {' and '.join(cell.denies)}")
        if cell.is_here:
            framed = svg.rect(x - 1, top - 1, _CELL + 2, _CELL + 2, "none", "#000000")
    rows = (len(strip.cells) + COLUMNS - 1) // COLUMNS
    columns = min(len(strip.cells), COLUMNS)
    yield svg.rect(-1, y - 1, columns * (_CELL + _GAP) + 1, rows * (_CELL + _GAP) + 1, "none", "#c8ced6")
    yield framed  # over its neighbours


def as_dot(tables: Tables, cpu: CpuState, path: Walk, title: str) -> Iterator[str]:
    """Yield a graph line by line: a box for each entry on the way, red where it takes a right away or ends the way."""
    lines = [dot.node(0, [f"CR3 {cpu.cr3:#x}"])]
    number = 0
    for number, strip in enumerate(levels(tables, cpu, path), 1):
        entry, told = strip.entry, list(words(strip, cpu))
        here = strip.cells[entry.index]
        is_end = path.stop is not None and entry is path.leaf
        colour = {"color": dot.BLAMED} if here.denies or is_end else {}
        lines.append(dot.node(number, [f"{entry_name(entry.level, entry.index)} at {entry.phys:#x}", value_words(entry), told[-1]], **colour))
        lines.append(dot.edge(number - 1, number, **({"color": dot.BLAMED, "label": f"-{here.denies}"} if here.denies else {})))
    if path.phys is not None:
        lines += [dot.node(number + 1, [f"{path.phys:#x}", path.rights], shape="ellipse"), dot.edge(number, number + 1)]
    yield from dot.document(title, lines)
