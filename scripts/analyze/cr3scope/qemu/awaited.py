"""What a person or a CI job waits for in what a guest says, and for how long."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from cr3scope import limits
from cr3scope.dataclass import dataclass

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
EXPECT, FAIL, UNTIL = "--expect", "--fail", "--until"


class TooSlow(Exception):
    """A pattern takes longer than anybody waits on what a guest has said."""


def first_match(pattern: re.Pattern[bytes], texts: tuple[bytes, ...], start: int) -> tuple[bytes, re.Match[bytes]] | None:
    """Return the first of the texts in which the pattern is from ``start`` on, and where; None if in none.

    TooSlow past the budget: the pattern is the user's own, and what it is held against the guest's.
    """
    with _bounded():
        for text in texts:
            match = pattern.search(text, start)
            if match is not None:
                return text, match
    return None


@contextmanager
def _bounded() -> Iterator[None]:
    """By a timer of the CPU's time; where none can be set, in another thread, without a bound."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _late)
    signal.setitimer(signal.ITIMER_VIRTUAL, limits.PATTERN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _late(_number: int, _frame: FrameType | None) -> None:
    raise TooSlow


def line_of(text: bytes, match: re.Match[bytes]) -> str:
    """Return the line in which a pattern was found, as a person reads it."""
    begin = max(text.rfind(b"\n", 0, match.start()), text.rfind(b"\r", 0, match.start())) + 1
    end = _LINE_ENDS.search(text, max(match.end(), begin + 1))
    return text[begin : end.start() if end else len(text)].decode(errors="replace").strip()
