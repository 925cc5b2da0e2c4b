"""A line of source text, as compilers show it, and the ``file:line`` that names one."""

from __future__ import annotations

from cr3scope import limits, numbers
from cr3scope.images.source_text import cut
from cr3scope.render.table import WIDTH
from cr3scope.text import printable


def as_text(number: int, text: str, columns: int = WIDTH) -> str:
    """Return ``19 | set(space, entry);``, at most so wide."""
    return cut(f"{number} | {printable(text)}", columns)


def file_and_line(place: str) -> tuple[str, int] | None:
    """Return the two parts of ``file:line``; None of any other place: a symbol, an image, an address."""
    file, _, line = place.rpartition(":")
    number = numbers.decimal(line, limits.SOURCE_BYTES)
    return (file, number) if file and number else None
