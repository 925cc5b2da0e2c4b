"""A table apart from how it is shown: aligned text for files and pipes, rich's for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

from cr3scope.dataclass import dataclass
from cr3scope.render.wrapped import wrapped

WIDTH = 100
GAP = 2  # spaces between columns


class Cell(NamedTuple):
    """A field or a line, and how it looks on a terminal: a name of ``terminal.STYLES``."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of as many cells as there are headings. Texts must be printable already.

    Only the last column may be longer than the line; it is wrapped. A ``bare`` table has its
    headings on a terminal only: programs read the first word of each line. ``least`` are widths below
    which a column of aligned text does not fall, so that it stands where it stood in other tables.
    """

    headings: tuple[str, ...]
    rows: Sequence[tuple[Cell, ...]]
    bare: bool = False
    least: tuple[int, ...] = ()

    def widths(self) -> list[int]:
        """Return the length of the longest text of each column."""
        heads = () if self.bare else (self.headings,)
        texts = (*heads, *(tuple(cell.text for cell in row) for row in self.rows))
        longest = [max(map(len, column)) for column in zip(*texts)]
        return [max(pair) for pair in zip_longest(longest, self.least, fillvalue=0)]


# What a report is made of.
Block = str | Cell | Table


def lines_of(blocks: Iterable[Block]) -> Iterator[str]:
    """Yield everything as aligned text."""
    for block in blocks:
        if isinstance(block, Table):
            yield from plain(block)
        else:
            yield block.text if isinstance(block, Cell) else block


def plain(table: Table) -> Iterator[str]:
    """Yield the headings, then a line for each row, with further ones where its last field is long."""
    widths = table.widths()
    if not widths:
        return
    indent = sum(widths[:-1]) + GAP * (len(widths) - 1)
    room = max(WIDTH - indent, len(table.headings[-1]), 20)
    widths[-1] = 0
    gap = " " * GAP
    rows = [tuple(cell.text for cell in row) for row in table.rows]
    for fields in rows if table.bare else [table.headings, *rows]:
        lines = [fields[-1]]
        if len(fields[-1]) > room:
            lines = wrapped(fields[-1], room)
        head = gap.join(f"{text:<{width}}" for text, width in zip(fields[:-1], widths))
        yield f"{head}{gap if head else ''}{lines[0]}".rstrip()
        for more in lines[1:]:
            yield " " * indent + more
