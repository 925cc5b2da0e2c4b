"""Collects what is wrong with a capture, bounded: a hostile file must not fill the memory."""

from __future__ import annotations

from cr3scope.input.diagnostic import Diagnostic
from cr3scope.message import Message
from cr3scope.text import printable

_MOST_ENTRIES = 1000


class Journal:
    """Diagnostics in their order. Past a limit they are only counted."""

    def __init__(self) -> None:
        self._entries: list[Diagnostic] = []
        self._count = 0

    @property
    def count(self) -> int:
        """Return how many were reported, those included that are not kept."""
        return self._count

    def report(self, message: str | Message, line: int | None = None, offset: int | None = None) -> None:
        """Record one more; the message may hold a guest's text."""
        self._count += 1
        if len(self._entries) < _MOST_ENTRIES:
            if isinstance(message, str):
                message = printable(message)
            self._entries.append(Diagnostic(message, line, offset))

    def entries(self) -> list[Diagnostic]:
        """Return all that are kept, and how many were left out."""
        left_out = self._count - len(self._entries)
        more = [Diagnostic(f"and {left_out} more of this kind")] if left_out else []
        return self._entries + more
