"""Colour and drawn tables, only where they are wanted. rich is imported only there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TextIO

from cr3scope.render.table import Table, plain

STYLES = {
    "": "",
    "error": "bold red",
    "warning": "bold yellow",
    "note": "cyan",
    "good": "bold green",
    "label": "cyan",
    "dim": "dim",
    "bold": "bold",
}


def wants_colour(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """True on a terminal, unless NO_COLOR (https://no-color.org) or TERM=dumb asks for none."""
    return (
        stream.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    )


def paint(text: str, style: str, colour: bool) -> str:
    """``text`` in a style of ``STYLES``, or as it is."""
    if not colour:
        return text
    from rich.style import Style

    return Style.parse(STYLES[style]).render(text)


def show(blocks: Iterable[str | Table], stream: TextIO) -> None:
    """Writes lines and tables: drawn by rich if the stream wants colour, else plainly aligned."""
    colour = wants_colour(stream)
    for block in blocks:
        if isinstance(block, str):
            stream.write(f"{block}\n")
        elif colour:
            _draw(block, stream)
        else:
            stream.writelines(f"{line}\n" for line in plain(block))


def _draw(table: Table, stream: TextIO) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for heading in table.headings[:-1]:
        drawn.add_column(heading, no_wrap=True)
    drawn.add_column(table.headings[-1], overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell.text, STYLES[cell.style]) for cell in row))
    console = Console(file=stream, force_terminal=True, highlight=False)
    console.print(drawn)
