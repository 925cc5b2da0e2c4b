"""What a format of log is: how it is recognised, and what it has to say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.observe import LogReport


@dataclass(frozen=True, slots=True)
class Story:
    """The report, and what a log without a fault still tells."""

    report: LogReport = field(default_factory=LogReport)
    last: str = ""  # what the guest was doing when last seen, in words
    last_rip: int | None = None
    reset: str = ""  # a reset that no exception explains, in words
    tells_nothing: str = ""  # why nothing can be judged


def no_beginning(_beginning: bytes) -> bool:
    """Return False: such a log is not known by its beginning."""
    return False


@dataclass(frozen=True, slots=True)
class Format:
    """One format of log. Each is the ``FORMAT`` of its module in ``formats/``.

    ``begins`` is asked about the first bytes of a log; no two formats may claim the same ones. ``signs``: bytes
    of which any one makes a log one of this format, wherever it stands. ``story``: what the log tells, given the
    CR3 of the switch if a capture tells it; ``stream.stories`` makes one of a function that yields events.
    """

    story: Callable[[LogFile, int | None], Story]
    begins: Callable[[bytes], bool] = no_beginning
    signs: tuple[bytes, ...] = ()

    def is_in(self, log: LogFile) -> bool:
        """Return whether one of the signs stands in the log."""
        return any(log.find(sign) >= 0 for sign in self.signs)
