"""What a machine says, as a person may see it: no escape reaches the terminal, and the trace is a line."""

from __future__ import annotations

from cr3scope.input.capture.framing import SENTINEL
from cr3scope.text import CONTROL, printable

_MANY = 16  # records between two lines of text: of fewer nothing is said at once
_LONGEST = 1000  # bytes of a line; what is longer is shown in pieces


class Shown:
    """Makes lines of bytes."""

    def __init__(self) -> None:
        self._part = b""
        self._records = 0

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that are complete now."""
        *whole, self._part = (self._part + data.replace(b"\r", b"\n")).split(b"\n")
        lines = [line for text in whole for line in self._lines(text)]
        if len(self._part) > _LONGEST:  # no record is
            lines += self._lines(self._part)
            self._part = b""
        return lines

    def rest(self) -> list[str]:
        """Return what has no end yet: nothing has come for a while, as behind a prompt."""
        if SENTINEL in self._part or self._part.startswith(b"@"):
            return self._counted()
        part, self._part = self._part, b""
        return [*self._counted(), *(self._lines(part) if part else ())]

    def _lines(self, text: bytes) -> list[str]:
        said, sentinel, _ = text.partition(SENTINEL)
        shown = [piece for piece in _pieces(CONTROL.sub(b"", said)) if piece.strip()]
        lines = [*(self._counted() if shown and self._records >= _MANY else ()), *shown]
        self._records += bool(sentinel)
        return lines

    def _counted(self) -> list[str]:
        count, self._records = self._records, 0
        return [f"[{count} {'record' if count == 1 else 'records'} of the trace]"] if count else []


def _pieces(text: bytes) -> list[str]:
    return [printable(text[at : at + _LONGEST].decode(errors="replace").rstrip()) for at in range(0, len(text), _LONGEST)]
