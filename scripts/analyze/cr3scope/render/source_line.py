"""A line of source text, as compilers show it."""

from __future__ import annotations

from cr3scope.images.source_text import cut
from cr3scope.render.table import WIDTH
from cr3scope.text import printable


def as_text(number: int, text: str, columns: int = WIDTH) -> str:
    """Return ``19 | set(space, entry);``, at most so wide."""
    return cut(f"{number} | {printable(text)}", columns)
