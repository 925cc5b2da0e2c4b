"""Text that came from a guest or a file, made safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return ``text`` with every character that could steer a terminal written as an escape.

    Python's notion of printable leaves out control characters, line separators, bidirectional marks and
    surrogates.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
