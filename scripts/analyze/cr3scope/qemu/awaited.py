"""What a person or a CI job waits for in what a guest says, and for how long."""

from __future__ import annotations

import re
from dataclasses import dataclass

_LINE_ENDS = re.compile(rb"[\r\n]")


@dataclass(frozen=True, slots=True)
class Awaited:
    """Patterns over the bytes of the serial port; None for nothing. ``idle``: seconds without a word and with all CPUs halted.

    ``expect`` must be said, ``fail`` must not, ``until`` ends the run at once.
    """

    expect: re.Pattern[bytes] | None = None
    fail: re.Pattern[bytes] | None = None
    until: re.Pattern[bytes] | None = None
    idle: float | None = None


NOTHING = Awaited()


def line_of(text: bytes, match: re.Match[bytes]) -> str:
    """Return the line in which a pattern was found, as a person reads it."""
    begin = max(text.rfind(b"\n", 0, match.start()), text.rfind(b"\r", 0, match.start())) + 1
    end = _LINE_ENDS.search(text, max(match.end(), begin + 1))
    return text[begin : end.start() if end else len(text)].decode(errors="replace").strip()
