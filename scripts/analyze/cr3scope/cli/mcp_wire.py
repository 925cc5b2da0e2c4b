"""The standard streams between `cr3scope mcp` and its client."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator

from cr3scope import limits
from cr3scope.cli.streams import ERROR, INPUT, OUTPUT, NotPrinted

_TURN_MILLISECONDS = 500
_PIECE_BYTES = select.PIPE_BUF  # what a pipe takes whole if it takes anything (pipe(7))


class Output:
    """Standard output, for messages alone: whatever else is printed goes to standard error."""

    def __init__(self) -> None:
        self._descriptor = os.dup(OUTPUT)
        os.set_inheritable(self._descriptor, False)
        os.dup2(ERROR, OUTPUT)
        self._lock = threading.Lock()
        self._is_over = False
        self.why: OSError | None = None  # of a client that does not read

    @property
    def is_gone(self) -> bool:
        """Return whether nothing more can be said to the client."""
        return self.why is not None

    def fileno(self) -> int:
        """Return the descriptor that leads to the client."""
        return self._descriptor

    def send(self, line: bytes) -> None:
        """Write one message whole, and wait for a client that is slow to read; nothing where nobody reads any more."""
        with self._lock:
            while line and not self._is_over and not self.is_gone:
                if self._takes(_TURN_MILLISECONDS):
                    line = line[self._write(line[:_PIECE_BYTES]) :]

    def offer(self, line: bytes) -> None:
        """Write one message if the client takes it without being waited for; else nothing."""
        if len(line) > _PIECE_BYTES or not self._lock.acquire(blocking=False):
            return
        try:
            if not self._is_over and not self.is_gone and self._takes(0):
                self._write(line)
        finally:
            self._lock.release()

    def end(self) -> None:
        """Say nothing more, not even the rest of what a client does not read."""
        self._is_over = True

    def _takes(self, milliseconds: int) -> bool:
        """Whether a piece can be written without waiting, or writing it tells why it cannot."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(milliseconds))

    def _write(self, piece: bytes) -> int:
        """Write, and return how much was written."""
        try:
            return os.write(self._descriptor, piece)
        except BrokenPipeError as error:
            self.why = error
        except OSError as error:
            self.why = NotPrinted(error.errno, error.strerror)
        return 0


def lines(output: Output) -> Iterator[bytes | None]:
    """Yield what the client sends, until it closes its end or reads no more: a line each, None for one that is too long."""
    held, is_long = b"", False
    poll = select.poll()
    poll.register(INPUT, select.POLLIN)
    poll.register(output.fileno(), 0)
    while not output.is_gone:
        ready = dict(poll.poll(_TURN_MILLISECONDS))
        if ready.get(output.fileno(), 0) & select.POLLERR:
            output.why = output.why or BrokenPipeError()
        if INPUT not in ready:
            continue
        try:
            piece = os.read(INPUT, limits.MCP_READ_BYTES)
        except OSError:
            piece = b""
        *whole, held = (held + piece).split(b"\n")
        for line in whole:
            if is_long or len(line) > limits.MCP_LINE_BYTES:
                is_long = False
                yield None
            elif line.strip():
                yield line
        if len(held) > limits.MCP_LINE_BYTES:
            held, is_long = b"", True
        if not piece:
            if is_long:
                yield None
            elif held.strip():
                yield held  # its line has no end: it is judged as it is
            return
