"""What a format of log is: how it is recognised, and what it has to say."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import field

from cr3scope.dataclass import dataclass
from cr3scope.input.logs.event import NO_DUMP, Event, InterruptRecord, RegisterDump, Walked
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.log_report import LogReport
from cr3scope.message import Message

MOST_BYTES = 4 << 20
_MOST_PLACES = 128
_TORN = re.compile(rb"(?:\b[A-Za-z]{1,4}\d{0,2} *= *(?:0x|[0-9a-f]{8,16}:)?|\b[a-z]{1,6}\d?: {2,})[0-9a-f]*\Z")
_LONGEST_VALUE = 64


@dataclass(frozen=True, slots=True)
class Story:
    """The report, and what a log without a fault still tells."""

    report: LogReport = field(default_factory=LogReport)
    last: str | Message = ""  # what the guest was doing when last seen
    last_rip: int | None = None
    reset: str | Message = ""  # a reset that no exception explains
    reset_cpu: RegisterDump = NO_DUMP  # the registers at that, as they were before
    tells_nothing: str | Message = ""  # why nothing can be judged
    walked: Walked | None = None  # the walk that the guest's kernel printed of the fault, or of whatever else
    last_interrupt: InterruptRecord | None = None  # of a device, if it is the last thing that the log tells


@dataclass(frozen=True, slots=True)
class Format:
    """One format of log. Each is the ``FORMAT`` of its module in ``formats/``.

    ``source``: what a verdict calls such a log. ``events`` yields what stands in it, in its order; offsets are bytes of
    the log. ``signs``: bytes of which any one makes a log one of this format, wherever it stands; a log may be of
    several. ``story``: a quicker way than by all events, of a log that is of this format alone, given the CR3 of the
    switch if a capture tells it. ``is_guess``: asked only where no other format knows anything, and only of this format
    if it has events.
    """

    source: str
    events: Callable[[LogFile], Iterator[Event]]
    signs: tuple[bytes, ...]
    story: Callable[[LogFile, int | None], Story] | None = None
    is_guess: bool = False

    def is_in(self, log: LogFile) -> bool:
        """Return whether one of the signs stands in the log."""
        return any(log.find(sign) >= 0 for sign in self.signs)


def last_bytes(log: LogFile) -> tuple[int, bytes]:
    """Return the end of a log, a few megabytes, and its offset: all of a paste, and of an emulator's log how it ended.

    A register's value with which it breaks off is left out: it may be half a number.
    """
    start = max(log.size - MOST_BYTES, 0)
    data = log.read(start, MOST_BYTES)
    torn = _TORN.search(data, max(len(data) - _LONGEST_VALUE, 0))
    return start, data[: torn.start()] if torn else data


def last_places(pattern: re.Pattern[bytes], data: bytes) -> list[re.Match[bytes]]:
    """Return the last places of a pattern, as many as matter: a log may repeat itself without end."""
    return list(deque(pattern.finditer(data), maxlen=_MOST_PLACES))
