"""What a guest printed last on its serial port."""

from __future__ import annotations

import re

from cr3scope.input.logs.screen import SCREEN
from cr3scope.text import printable

MOST_LINES, MOST_CHARACTERS = 3, 200
_TAIL = 1 << 14
_SCREENFUL = 25  # lines
_GIVES_UP = re.compile(
    r"\bpanic|\bfatal\b|\bassert(?:ion)?\b.{0,80}\bfail|\bfailed assert|\bunrecoverable\b|\bcannot continue\b|\bunhandled\b|\boops\b",
    re.IGNORECASE,
)
_PANIC = re.compile(r"\bpanic\b", re.IGNORECASE)
# No speech of the guest: our own trace, and the firmware's boot manager.
_OTHERS = re.compile(r"@c3s[0-9]+ [0-9a-f]+ |^BdsDxe: ")
_CONTROL = re.compile(rb"\x1b(?:\[[0-9;?=]*[A-Za-z]|[()][A-Z0-9]|[=>78])")  # ECMA-48, VT100


def gave_up_in_words(serial: bytes, screen: str) -> bool:
    """Return whether a guest's last lines, on its serial port or its text screen, say that it cannot go on."""
    lines = (*_spoken(serial)[-_SCREENFUL:], *screen.splitlines()[-_SCREENFUL:])
    return any(_GIVES_UP.search(line) for line in lines)


def last_words(serial: bytes) -> tuple[str, ...]:
    """Return the last lines that hold a letter or a digit, oldest first, made printable and cut.

    Of a kernel that says "panic", return that line and those around it: a list of addresses often comes last.
    """
    spoken = _spoken(serial)
    panics = (at for at, line in enumerate(spoken) if len(spoken) - at <= _SCREENFUL and _PANIC.search(line))
    last = spoken[-MOST_LINES:]
    for at in panics:
        last = spoken[max(at - 1, 0) :][:MOST_LINES]
    return tuple(line[:MOST_CHARACTERS] for line in last)


def _spoken(serial: bytes) -> list[str]:
    """The guest's own lines, as far back as matters."""
    # A cursor that is moved begins another line for the reader.
    guest = SCREEN.split(serial, 1)[0]  # what comes then is the firmware's
    text = _CONTROL.sub(b"\n", guest[-_TAIL:]).decode(errors="replace").replace("\r", "\n")
    lines = [printable(line.strip()) for line in text.split("\n")]
    return [line for line in lines if any(map(str.isalnum, line)) and not _OTHERS.search(line)]
