"""Takes what comes off a line in a thread of its own: nothing is lost while somebody judges, or a terminal stands still."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.errors import UnusableInput
from cr3scope.wire.line import Absent, Line

RETRY_SECONDS = 0.5  # between two tries to open what is not there
_READ_BYTES = 1 << 16
_GONE = {errno.EIO: "it is gone", errno.ENODEV: "it is gone", errno.ENXIO: "it is gone"}  # of a pty, a USB adapter


@dataclass(frozen=True, slots=True)
class Came:
    """Bytes, and when (``time.monotonic``)."""

    data: bytes
    at: float


@dataclass(frozen=True, slots=True)
class Gone:
    """The line has ended. ``why`` in words; ``is_last``: it does not come again."""

    why: str
    lost: Sequence[str] = ()
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Opened:
    """The line was opened, or has come again."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It cannot be opened any more."""

    error: UnusableInput


Event = Came | Gone | Opened | Refused


class Reader:
    """``descriptor`` becomes readable when there is something to take."""

    def __init__(self, line: Line | None, reopen: Callable[[], Line] | None) -> None:
        """``line``: an open one, None to wait for the first; ``reopen``: opens it anew, None where it does not come again."""
        self._line = line
        self._reopen = reopen
        self._events: deque[Event] = deque()
        self._waiting = 0  # bytes that nobody has taken
        self._room = threading.Condition()
        self._is_over = False
        self._is_taking = False  # what was on the line is on its way to the events
        self.descriptor, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._ended, self._end = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="listen", daemon=True)
        self._thread.start()

    def take(self) -> list[Event]:
        """Return what has come since the last call, in order, bytes that came together in one piece."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 1 << 10)
        with self._room:
            events, self._waiting = list(self._events), 0
            self._events.clear()
            self._room.notify_all()
        return events

    def has_more(self) -> bool:
        """Return whether something is there that was not taken: on the line, if there was no room for it, or on its way from there."""
        line = self._line
        if line is not None:
            poll = select.poll()
            poll.register(line.descriptor, select.POLLIN)
            if any(event & select.POLLIN for _, event in poll.poll(0)):
                return True
        return self._is_taking or bool(self._events)

    def losses(self) -> list[str]:
        """Return what the line has lost since it was asked, in words."""
        line = self._line
        return [] if line is None else line.losses()

    def close(self) -> None:
        """Stop; what was not taken is forgotten."""
        with self._room:
            self._is_over = True
            self._room.notify_all()
        os.close(self._end)
        self._thread.join()
        for descriptor in (self.descriptor, self._wake, self._ended):
            os.close(descriptor)

    def _run(self) -> None:
        try:
            while not self._is_over:
                if self._line is None and not self._open():
                    return
                gone = self._read()
                line, self._line = self._line, None
                if line is not None:
                    line.close()
                if gone is not None:
                    self._put(gone)
                    self._is_taking = False
                    if gone.is_last:
                        return
        finally:
            if self._line is not None:
                self._line.close()

    def _open(self) -> bool:
        """Try until it is there. False if it never will be, or nobody listens any more."""
        assert self._reopen is not None
        while not self._is_stopped(RETRY_SECONDS):
            try:
                self._line = self._reopen()
            except Absent:
                continue
            except UnusableInput as error:
                self._put(Refused(error))
                return False
            self._put(Opened())
            return True
        return False

    def _read(self) -> Gone | None:
        """Read until the line ends; None if somebody stopped it."""
        line = self._line
        assert line is not None
        poll = select.poll()
        poll.register(line.descriptor, select.POLLIN)
        poll.register(self._ended, 0)  # its other end is closed
        while True:
            self._is_taking = False
            ready = dict(poll.poll())
            self._is_taking = True
            if self._ended in ready or not self._has_room():
                return None
            try:
                data = os.read(line.descriptor, _READ_BYTES)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as error:
                return self._gone(line, _GONE.get(error.errno or 0, error.strerror or str(error)))
            if not data:
                return self._gone(line, "it was closed at the other end")
            self._put(Came(data, time.monotonic()))

    def _gone(self, line: Line, why: str) -> Gone:
        return Gone(why, line.losses(), is_last=self._reopen is None)

    def _put(self, event: Event) -> None:
        with self._room:
            last = self._events[-1] if self._events else None
            if isinstance(event, Came):
                self._waiting += len(event.data)
                if isinstance(last, Came) and len(last.data) < _READ_BYTES:  # few large pieces are quicker than many small ones
                    event = Came(last.data + event.data, event.at)
                    self._events.pop()
            self._events.append(event)
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake, b".")

    def _has_room(self) -> bool:
        """Wait until somebody has taken what is there, if that is much. False if nobody listens any more."""
        with self._room:
            self._room.wait_for(lambda: self._is_over or self._waiting < limits.LISTEN_WAITING_BYTES)
            return not self._is_over

    def _is_stopped(self, seconds: float) -> bool:
        """Return whether somebody stops within ``seconds``."""
        return bool(select.select([self._ended], [], [], seconds)[0])
