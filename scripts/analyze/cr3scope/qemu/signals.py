"""SIGINT and SIGTERM during a run: noted, told to whoever waits, and the end of work that does not wait."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from cr3scope.qemu.qmp import QmpError

HURRY_SECONDS = 0.5  # from a signal to the end of whatever is being worked out
_AGAIN_SECONDS = 0.1  # who does not end at the first exception gets another
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """The signals that end a run, as one more readable descriptor."""

    def __enter__(self) -> Signals:
        self._count = 0
        self._raise_at = float("inf")
        self._begun = self._over = threading.Event()
        self._is_cutting = False
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Who is started to outlive its terminal (nohup) has no ear for its end.
        ours = (one for one in _ENDING if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN)
        self._before = {number: signal.signal(number, self._note) for number in ours}
        return self

    def __exit__(self, *_: object) -> None:
        self._end_cut()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._read)
        os.close(self._write)

    def fileno(self) -> int:
        return self._read

    def has_come(self) -> bool:
        """Return whether any signal has come."""
        return self._count > 0

    def another(self) -> Callable[[], bool]:
        """Return a function that tells whether a signal has come since this call; what came before is taken."""
        before = self._count
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 1 << 10)
        return lambda: self._count > before

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Let QmpError be raised within, ``HURRY_SECONDS`` after a signal or, if one has come already, from now."""
        self._begun, self._over = threading.Event(), threading.Event()
        thread = threading.Thread(target=self._hurry, args=(self._begun, self._over), name="hurry", daemon=True)
        thread.start()
        self._is_cutting = True
        if self._count:
            self._begin_cut()
        try:
            yield
        finally:
            self._end_cut()
            thread.join()

    @staticmethod
    def _hurry(begun: threading.Event, over: threading.Event) -> None:
        """By a real signal: it also ends what waits in the system."""
        begun.wait()
        wait = HURRY_SECONDS
        while not over.wait(wait):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            wait = _AGAIN_SECONDS

    def _begin_cut(self) -> None:
        self._raise_at = min(self._raise_at, time.monotonic() + HURRY_SECONDS)
        self._begun.set()

    def _end_cut(self) -> None:
        self._is_cutting, self._raise_at = False, float("inf")
        self._over.set()
        self._begun.set()

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        if time.monotonic() >= self._raise_at:
            raise QmpError("interrupted")
        self._count += 1
        if self._is_cutting:
            self._begin_cut()
        with contextlib.suppress(BlockingIOError):
            os.write(self._write, b".")
