"""Lines of a width: most words fit into one, and those are not taken apart."""

from __future__ import annotations

import textwrap


def wrapped(words: str, width: int, head: str = "", indent: str = "", on_hyphens: bool = False) -> list[str]:
    """Return the lines of ``words``; none of no words.

    ``head`` begins the first line, ``indent`` each later one. ``on_hyphens``: whether a line may end at a hyphen.
    """
    if not words:
        return []
    if words.isprintable() and words[-1] != " " and len(head) + len(words) <= width:
        return [head + words]
    return textwrap.wrap(words, width, initial_indent=head, subsequent_indent=indent, break_on_hyphens=on_hyphens)
