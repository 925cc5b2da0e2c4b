"""What a format of log is: how it is recognised, and what it has to say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cr3scope.input.logs.event import NO_DUMP, Event, RegisterDump
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.observe import LogReport


@dataclass(frozen=True, slots=True)
class Story:
    """The report, and what a log without a fault still tells."""

    report: LogReport = field(default_factory=LogReport)
    last: str = ""  # what the guest was doing when last seen, in words
    last_rip: int | None = None
    reset: str = ""  # a reset that no exception explains, in words
    reset_cpu: RegisterDump = NO_DUMP  # the registers at that, as they were before
    struck: int | None = None  # of a triple fault: what was raised while #DF was delivered
    tells_nothing: str = ""  # why nothing can be judged


@dataclass(frozen=True, slots=True)
class Format:
    """One format of log. Each is the ``FORMAT`` of its module in ``formats/``.

    ``source``: what a verdict calls such a log. ``events`` yields what stands in it, in its order; offsets are bytes of
    the log. ``signs``: bytes of which any one makes a log one of this format, wherever it stands; a log may be of
    several. ``story``: a quicker way than by all events, of a log that is of this format alone, given the CR3 of the
    switch if a capture tells it. ``is_guess``: asked only where no other format knows anything.
    """

    source: str
    events: Callable[[LogFile], Iterator[Event]]
    signs: tuple[bytes, ...]
    story: Callable[[LogFile, int | None], Story] | None = None
    is_guess: bool = False

    def is_in(self, log: LogFile) -> bool:
        """Return whether one of the signs stands in the log."""
        return any(log.find(sign) >= 0 for sign in self.signs)
