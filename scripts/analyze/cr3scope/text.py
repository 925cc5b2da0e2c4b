"""Text that came from a guest or a file, made safe to print."""

from __future__ import annotations

import re

CONTROL = re.compile(rb"\x1b(?:\[[0-9;?=]{0,32}[A-Za-z]|[()][A-Z0-9]|[=>78])")  # ECMA-48, VT100: colours, the cursor
_MOST_ESCAPES = 1 << 12  # characters that are kept; Unicode has a million


class _Escapes(dict[int, str]):
    """Characters by their numbers, as they may be printed; worked out when one is asked for."""

    def __missing__(self, number: int) -> str:
        character = chr(number)
        escape = character if character.isprintable() else character.encode("unicode_escape").decode()
        if len(self) < _MOST_ESCAPES:
            self[number] = escape
        return escape


_ESCAPES = _Escapes()


def printable(text: str) -> str:
    """Return ``text`` with every character that could steer a terminal written as an escape.

    Python's notion of printable leaves out control characters, line separators, bidirectional marks and
    surrogates.
    """
    if text.isprintable():
        return text
    return text.translate(_ESCAPES)
