"""Colour and drawn tables, only where they are wanted. rich is imported only there."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable, Mapping
from typing import TextIO

from cr3scope.render.table import GAP, Block, Cell, Table, lines_of, plain

STYLES = {
    "": "",
    "error": "bold red",
    "warning": "bold yellow",
    "note": "cyan",
    "good": "bold green",
    "label": "cyan",
    "dim": "dim",
    "bold": "bold",
    "removed": "red",
    "added": "green",
}
_LEAST_LAST = 20  # a last column narrower than that cannot be read
_MOST_DRAWN = 2000  # rich takes a second for some thousand rows


def wants_colour(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether to use colour: on a terminal, unless NO_COLOR (https://no-color.org) or TERM=dumb asks for
    none, or rich, which draws it, is missing."""
    return (
        stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb" and has_rich()
    )


def has_rich() -> bool:
    """Return whether rich is installed."""
    try:
        return importlib.util.find_spec("rich") is not None
    except ImportError:
        return False


def paint(text: str, style: str, colour: bool) -> str:
    """Return ``text`` in a style of ``STYLES``, or as it is."""
    if not colour:
        return text
    from rich.style import Style

    return Style.parse(STYLES[style]).render(text)


def show(blocks: Iterable[Block], stream: TextIO) -> None:
    """Write lines and tables: drawn by rich if the stream wants colour, else plainly aligned."""
    colour = wants_colour(stream)
    for block in blocks:
        if isinstance(block, Table) and colour and len(block.rows) <= _MOST_DRAWN:
            _draw(block, stream)
        elif isinstance(block, Cell) and colour:
            stream.write(f"{paint(block.text, block.style, colour)}\n")
        else:
            stream.writelines(f"{line}\n" for line in lines_of([block]))


def _draw(table: Table, stream: TextIO) -> None:
    """On a terminal that is too narrow for all but the last column, as aligned text."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    console = Console(file=stream, force_terminal=True, highlight=False)
    *fixed, last = table.widths() or [0]
    heading = len(table.headings[-1])
    if sum(width + GAP for width in fixed) + min(last, max(heading, _LEAST_LAST)) > console.width:
        stream.writelines(f"{line}\n" for line in plain(table))
        return
    drawn = Drawn(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold"
    )
    for name in table.headings[:-1]:
        drawn.add_column(name, no_wrap=True)
    drawn.add_column(table.headings[-1], overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell.text, STYLES[cell.style]) for cell in row))
    console.print(drawn)
