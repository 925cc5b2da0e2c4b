"""The standard streams between `cr3scope mcp` and its client."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator

from cr3scope import limits
from cr3scope.cli.streams import ERROR, INPUT, OUTPUT, NotPrinted

_TURN_MILLISECONDS = 500


class Output:
    """Standard output, for messages alone: whatever else is printed goes to standard error."""

    def __init__(self) -> None:
        self._descriptor = os.dup(OUTPUT)
        os.set_inheritable(self._descriptor, False)
        os.dup2(ERROR, OUTPUT)
        self._lock = threading.Lock()
        self.why: OSError | None = None  # of a client that does not read

    @property
    def is_gone(self) -> bool:
        """Return whether nothing more can be said to the client."""
        return self.why is not None

    def fileno(self) -> int:
        """Return the descriptor that leads to the client."""
        return self._descriptor

    def send(self, line: bytes) -> None:
        """Write one message whole; nothing where nobody reads any more."""
        with self._lock:
            while line and not self.is_gone:
                try:
                    line = line[os.write(self._descriptor, line) :]
                except BrokenPipeError as error:
                    self.why = error
                except OSError as error:
                    self.why = NotPrinted(error.errno, error.strerror)


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
