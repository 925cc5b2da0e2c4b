"""Listens: keeps each boot in a file of its own, and hands it on to be judged once it is over.

Every wait is for an event: bytes, the end of the line, a signal or a deadline.
"""

from __future__ import annotations

import selectors
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from cr3scope.dataclass import dataclass
from cr3scope.input.capture.framing import SENTINEL
from cr3scope.qemu.serial_port import SerialPort, Sign
from cr3scope.qemu.signals import Signals
from cr3scope.wire.boots import BootCutter, before_starts
from cr3scope.wire.files import new_capture
from cr3scope.wire.heard import End, Heard
from cr3scope.wire.reader import Came, Gone, Opened, Reader, Refused

PROMPT_SECONDS = 0.3  # without an end of line: what stands there is shown
_TALKS_ON_SECONDS = 5.0  # from a sign that all is said to the verdict, if somebody goes on speaking
# How long after a sign that a machine is done it must have been quiet. At 9600 baud a line takes a tenth of a second.
_GRACE = {
    Sign.FAULT_RECORD: 0.3,
    Sign.ERROR_RECORD: 0.3,
    Sign.TRACE_ENDED: 1.0,
    Sign.KERNEL_PANIC: 1.0,
    Sign.SCREEN_STARTED: 1.5,
    Sign.SCREEN_COMPLETE: 0.3,
}
_DEATHS = frozenset({Sign.KERNEL_PANIC, Sign.SCREEN_STARTED, Sign.SCREEN_COMPLETE})
_BRIEF_SECONDS = 5.0  # a busy console server takes a call, says so, and hangs up
_MOST_BRIEF = 4  # in a row, of which each may have been a boot; then they are none
_LEAST_GARBLED = 64  # bytes
_CHATTER = frozenset(b"\t\n\r\x1b\x08\x07\x00") | frozenset(range(0x20, 0x7F))


class Ear(Protocol):
    """Who is told of what is heard."""

    def said(self, data: bytes) -> None:
        """Take what has come, as it comes."""

    def quiet(self) -> None:
        """Take that nothing comes for the moment."""

    def heard(self, boot: Heard) -> bool:
        """Judge a boot. Return whether to go on listening."""

    def remark(self, words: str) -> None:
        """Take a line about the listening itself."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: of silence after which what was said is judged; and of listening altogether, None for no end."""

    idle: float
    timeout: float | None = None


class _Boot:
    """One boot while it is heard."""

    def __init__(self, number: int, path: Path, now: float) -> None:
        self.number = number
        self.path = path
        self.port = SerialPort(path)
        self.begun = self.last = now
        self.due: float | None = None  # when it is to be judged, because of a sign
        self.latest: float | None = None  # the same, whatever still comes
        self.grace = 0.0
        self.judged: End | None = None  # why it was, last time
        self.has_news = True  # since then
        self.tells = False  # of a boot: a trace, or a sign of how it went
        self.garbled = 0  # bytes that are no text
        self.lost: list[str] = []

    def take(self, data: bytes, at: float) -> bool:
        """Take what was said. Return whether somebody died of something."""
        self.last = at
        self.garbled += len(data.translate(None, bytes(_CHATTER)))
        signs = [sign for sign in self.port.feed(data) if sign in _GRACE]
        told = bool(signs) or SENTINEL in data
        self.has_news = self.has_news or told
        self.tells = self.tells or told
        if signs:
            self.grace = max(_GRACE[sign] for sign in signs)
            self.latest = at + _TALKS_ON_SECONDS if self.latest is None else self.latest
        if self.latest is not None:
            self.due = min(at + self.grace, self.latest)
        return not _DEATHS.isdisjoint(signs)

    def deadline(self, idle: float) -> float | None:
        """Return when it is to be judged if nothing more comes; None if it was, and nothing new was heard."""
        if self.due is not None:
            return self.due
        return self.last + idle if self.has_news else None

    def heard(self, end: End, now: float) -> Heard:
        """Return what is known of it now."""
        remarks = []
        if self.port.left_out:
            remarks.append(f"{self.path.name}: {self.port.left_out} bytes left out")
        if self.port.error is not None:
            remarks.append(f"{self.path.name} is not whole: {self.port.error.strerror}; all that came was judged")
        if self.garbled > _LEAST_GARBLED and 2 * self.garbled > self.port.total:
            remarks.append("most of what came is no text: is the speed right (--baud)?")
        return Heard(
            self.number, self.path, self.port.received, self.port.total, self.last - self.begun, now - self.last, end,
            self.port.panic, tuple(self.lost), tuple(remarks),
        )  # fmt: skip


class Listener:
    """From the first byte to whatever ends it."""

    def __init__(self, reader: Reader, folder: Path, patience: Patience, ear: Ear, signals: Signals) -> None:
        self._reader, self._folder, self._patience, self._ear, self._signals = reader, folder, patience, ear, signals
        self._cutter = BootCutter()
        self._boot: _Boot | None = None
        self._count = 0
        self._goes_on = True
        self._spoke = False  # something may stand without an end of line
        self._begun = time.monotonic()
        self._opened: float | None = None  # when it came again, and has said nothing yet
        self._breaks_off = False  # it came again and went without a word: that is said once
        self._since: float | None = None  # it came again
        self._brief = 0  # times in a row that it then said a little of no boot, and went

    def run(self) -> None:
        """Take what comes until the source has ended for good, nobody wants more, the time is up or a signal comes.

        UnusableInput if it cannot be opened again, or a capture cannot be kept.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._reader.descriptor, selectors.EVENT_READ)
            selector.register(self._signals, selectors.EVENT_READ)
            try:
                while self._goes_on:
                    selector.select(self._wait())
                    now = time.monotonic()  # while what has come is taken nobody hears if somebody is silent
                    if self._signals.has_come():
                        self._take_all()
                        self._finish(End.INTERRUPTED)
                        break
                    self._take_all()
                    self._look(now)
            finally:
                if self._boot is not None:
                    self._boot.port.close()

    def _wait(self) -> float | None:
        now = time.monotonic()
        deadlines = [self._end_at()]
        if self._boot is not None:
            deadlines.append(self._boot.deadline(self._patience.idle))
            deadlines.append(self._boot.last + PROMPT_SECONDS if self._spoke else None)
        known = [one for one in deadlines if one is not None]
        return max(min(known) - now, 0.0) if known else None

    def _end_at(self) -> float | None:
        return None if self._patience.timeout is None else self._begun + self._patience.timeout

    def _look(self, now: float) -> None:
        """Do what is due."""
        boot = self._boot
        if boot is not None and self._goes_on:
            if self._spoke and now >= boot.last + PROMPT_SECONDS:
                self._spoke = False
                self._ear.quiet()
            deadline = boot.deadline(self._patience.idle)
            if deadline is not None and now >= deadline and (boot.due is not None or not self._reader.has_more()):
                self._judge(End.SILENT)
        end_at = self._end_at()
        if self._goes_on and end_at is not None and now >= end_at:
            self._finish(End.TIMEOUT)
            self._goes_on = False

    def _take_all(self) -> None:
        for event in self._reader.take():
            if not self._goes_on:
                return
            if isinstance(event, Came):
                self._came(event)
            elif isinstance(event, Gone):
                self._gone(event)
            elif isinstance(event, Opened):
                self._opened = self._since = time.monotonic()
                if not self._breaks_off:
                    self._ear.remark("it is there: listening")
            else:
                assert isinstance(event, Refused)
                raise event.error

    def _came(self, event: Came) -> None:
        self._ear.said(event.data)
        self._spoke, self._opened = True, None
        for data in before_starts(event.data):
            first, *others = self._cutter.feed(data)
            self._take(first, event.at)
            for piece in others:
                self._finish(End.BEGAN_AGAIN, event.at)
                if not self._goes_on:
                    return
                self._take(piece, event.at)

    def _take(self, data: bytes, at: float) -> None:
        if not data:
            return
        if self._boot is None:
            self._count += 1
            self._boot = _Boot(self._count, new_capture(self._folder), at)
        if self._boot.take(data, at):
            self._cutter.has_died = True

    def _gone(self, event: Gone) -> None:
        if self._boot is not None:
            self._boot.lost += event.lost
        if not self._drop_brief():
            self._finish(End.CLOSED)
        self._cutter.start()
        was_known = self._breaks_off
        self._breaks_off = self._opened is not None and time.monotonic() - self._opened < _BRIEF_SECONDS
        self._opened = None
        if event.is_last:
            self._goes_on = False
        elif self._goes_on and not (was_known and self._breaks_off):
            then = "before it said a word: tried until it speaks" if self._breaks_off else "waiting for it to come again"
            self._ear.remark(f"{event.why}: {then}")

    def _drop_brief(self) -> bool:
        """Forget what came if it is one word too many of a busy server; return whether it was. Else nothing is changed."""
        boot, since = self._boot, self._since
        if boot is None:
            return False
        is_brief = since is not None and time.monotonic() - since < _BRIEF_SECONDS and not boot.tells and boot.judged is None  # else it was told of
        self._brief = self._brief + 1 if is_brief else 0
        if self._brief <= _MOST_BRIEF:
            return False
        if self._brief == _MOST_BRIEF + 1:
            self._ear.remark(f"{boot.port.total} bytes that tell of no boot, and gone, {self._brief} times in a row: no more of them are kept")
        self._boot = None
        self._count -= 1
        with suppress(OSError):
            boot.port.close()
        with suppress(OSError):
            boot.path.unlink()
        return True

    def _finish(self, end: End, at: float | None = None) -> None:
        """Judge the boot in hand, if something of it was not judged yet, and forget it. ``at``: when it ended, None for now."""
        if end is not End.BEGAN_AGAIN:  # else what is held back is the next boot's
            self._take(self._cutter.rest(), self._boot.last if self._boot else time.monotonic())
        boot = self._boot
        if boot is None:
            return
        if boot.has_news or (end is End.BEGAN_AGAIN and boot.judged is End.SILENT):
            self._judge(end, at)
        self._boot = None
        with suppress(OSError):
            boot.port.close()

    def _judge(self, end: End, at: float | None = None) -> None:
        boot = self._boot
        assert boot is not None
        boot.lost += self._reader.losses()
        if boot.due is not None:
            end = End.SAID_ALL  # whatever came right after that
        boot.due = boot.latest = None
        boot.judged, boot.has_news = end, False
        self._spoke = False
        self._ear.quiet()
        self._goes_on = self._ear.heard(boot.heard(end, time.monotonic() if at is None else at)) and self._goes_on
