"""Takes QEMU's log from a FIFO in a thread of its own, so that QEMU never waits for us."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import select
import threading
import time
from pathlib import Path
from typing import Any

from cr3scope.input.logs.int_log.log_filter import LogFilter
from cr3scope.input.logs.int_log.storm import Storm, StormDetector
from cr3scope.render.output_file import open_new

_F_SETPIPE_SZ = getattr(fcntl, "F_SETPIPE_SZ", 1031)  # Linux; in Python from 3.10
PIPE_BYTES = 1 << 20
# QEMU writes every record by itself; one wake-up for each would cost more than the record.
_GATHER_MILLISECONDS = 4
LAST_SECONDS = 1.0  # for what is in the pipe when QEMU has ended or is paused; it holds 1 MiB


def read_end(path: Path) -> int:
    """Make a FIFO and open its read end, so that a writer's open does not wait."""
    os.mkfifo(path, 0o600)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # above the limit of an unprivileged user: slower, no more
        fcntl.fcntl(descriptor, _F_SETPIPE_SZ, PIPE_BYTES)
    return descriptor


class _Kept(io.RawIOBase):
    """A file that takes everything: what comes after its disk is full is lost, and ``error`` says so."""

    def __init__(self, path: Path) -> None:
        self._file = open_new(path, buffering=0)
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        left = memoryview(data)
        while left and self.error is None:
            try:
                left = left[self._file.write(left) :]
            except OSError as error:
                self.error = error
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()


class LogPipe:
    """Reads ``fifo`` until told to finish; keeps the bounded log in ``target``.

    ``fileno`` becomes readable when a storm is detected; then ``storm`` says which.
    """

    def __init__(self, fifo: Path, target: Path) -> None:
        self._fifo = read_end(fifo)
        self._kept = _Kept(target)
        self._out = io.BufferedWriter(self._kept)
        self._filter = LogFilter(self._out)
        self._detector = StormDetector()
        self._notice_read, self._notice_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._stop_read, self._stop_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._finished = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self.storm: Storm | None = None
        self._is_endless = False
        self._thread.start()

    def fileno(self) -> int:
        return self._notice_read

    @property
    def loss(self) -> str:
        """Return why what is kept is not all that there is to keep; "" if it is."""
        if self._kept.error is not None:
            return self._kept.error.strerror or str(self._kept.error)
        return "QEMU goes on writing, although it is paused" if self._is_endless else ""

    @property
    def records(self) -> int:
        """Return the number of records so far, left-out ones included."""
        return self._filter.records

    @property
    def total_bytes(self) -> int:
        """Return the number of bytes so far, left-out ones included."""
        return self._filter.total_bytes

    @property
    def last(self) -> bytes:
        """Return the end of the last whole line."""
        return self._filter.last

    def finish(self) -> None:
        """Take what QEMU has written to the last byte and close the log; once is enough.

        QEMU must have ended or be paused.
        """
        if self._finished:
            return
        with contextlib.suppress(BlockingIOError):
            os.write(self._stop_write, b".")
        self._thread.join()
        self._finished = True
        for descriptor in (
            self._fifo, self._notice_read, self._notice_write, self._stop_read, self._stop_write,
        ):  # fmt: skip
            os.close(descriptor)
        self._out.close()

    def _run(self) -> None:
        both, stop_only = select.poll(), select.poll()
        both.register(self._fifo, select.POLLIN)
        both.register(self._stop_read, select.POLLIN)
        stop_only.register(self._stop_read, select.POLLIN)
        while True:
            both.poll()
            stopping = bool(stop_only.poll(_GATHER_MILLISECONDS))
            until = time.monotonic() + LAST_SECONDS
            while data := self._read():
                self._take(data)
                if not stopping and len(data) < PIPE_BYTES:
                    break
                if time.monotonic() > until:
                    self._is_endless = stopping
                    break
            if stopping:
                break
            if data == b"":  # QEMU closed its end: nothing more until told to finish
                stop_only.poll()
        self._filter.finish()

    def _read(self) -> bytes | None:
        """What is there; b"" if no writer is left, None if there is nothing now."""
        try:
            return os.read(self._fifo, PIPE_BYTES)
        except BlockingIOError:
            return None

    def _take(self, data: bytes) -> None:
        lines = self._filter.feed(data)
        if self.storm is None and lines:
            self.storm = self._detector.feed(lines)
            if self.storm is not None:
                os.write(self._notice_write, b".")
