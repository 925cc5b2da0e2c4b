"""A table apart from how it is shown: aligned text for files and pipes, rich's for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

WIDTH = 100
_GAP = "  "


class Cell(NamedTuple):
    """A field, and how it looks on a terminal: a name of ``terminal.STYLES``."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of as many cells as there are headings. Texts must be printable already.

    Only the last column may be longer than the line; it is wrapped. A ``bare`` table has its
    headings on a terminal only: programs read the first word of each line.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    bare: bool = False

    def widths(self) -> list[int]:
        """The longest text of each column."""
        heads = () if self.bare else (self.headings,)
        texts = (*heads, *(tuple(cell.text for cell in row) for row in self.rows))
        return [max(map(len, column)) for column in zip(*texts)]


def plain(table: Table) -> Iterator[str]:
    """The headings, then a line for each row, with further ones where its last field is long."""
    widths = table.widths()
    if not widths:
        return
    indent = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1)
    room = max(WIDTH - indent, len(table.headings[-1]), 20)
    widths[-1] = 0
    rows = [tuple(cell.text for cell in row) for row in table.rows]
    for fields in rows if table.bare else [table.headings, *rows]:
        wrapped = textwrap.wrap(fields[-1], room, break_on_hyphens=False) or [""]
        head = _GAP.join(f"{text:<{width}}" for text, width in zip(fields[:-1], widths))
        yield f"{head}{_GAP if head else ''}{wrapped[0]}".rstrip()
        for more in wrapped[1:]:
            yield " " * indent + more
