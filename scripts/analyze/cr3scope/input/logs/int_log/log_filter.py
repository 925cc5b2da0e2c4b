"""Keeps of an endless ``-d int`` log what is needed to judge it, and says what was left out.

Kept are the beginning, what follows each CR3 that was never seen before, and the end. Where bytes
are missing, a marker line says so; ``cr3scope.input.logs`` knows it.
"""

from __future__ import annotations

import re
from collections import deque
from typing import BinaryIO

from cr3scope.input.logs.int_log.marker import left_out
from cr3scope.input.logs.int_log.record import RECORD

HEAD_BYTES = 4 << 20
WINDOW_BYTES = 2 << 20
TAIL_BYTES = 1 << 20
MAX_WINDOWS = 16  # an operating system that runs has no end of CR3 values
_MAX_LINE = 1 << 16
_LAST_BYTES = 64

_CR3 = re.compile(rb"CR3=[0-9a-f]{1,16}\s")  # with its end: no value is the beginning of another


class LogFilter:
    """Takes the log in pieces of any size and writes the bounded log to ``out``."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._partial = b""  # the last line, as long as its end is not there
        self._seen: set[bytes] = set()
        self._latest = b""
        self._keep_until = HEAD_BYTES
        self._windows = 0
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._dropped_bytes = 0
        self._dropped_records = 0
        self.total_bytes = 0
        self.records = 0
        self.last = b""  # the end of the last whole line

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; return the whole lines that it completes."""
        data = self._partial + data
        end = data.rfind(b"\n") + 1
        if not end and len(data) > _MAX_LINE:
            end = len(data)
        self._partial = data[end:]
        lines = data[:end]
        if lines:
            self._take(lines)
            self.last = lines[-_LAST_BYTES:]
        return lines

    def finish(self) -> None:
        """Write what is held back, once the log has ended."""
        if self._partial:
            partial, self._partial = self._partial, b""
            self._take(partial)
        self._release_tail()
        self._out.flush()

    def _take(self, lines: bytes) -> None:
        self.records += lines.count(RECORD)
        start = 0
        for place in self._new_cr3(lines):
            self._store(lines[start:place])
            start = place
            self._windows += 1
            self._release_tail()
            self._keep_until = max(self._keep_until, self.total_bytes + WINDOW_BYTES)
        self._store(lines[start:])

    def _new_cr3(self, lines: bytes) -> list[int]:
        """Where a CR3 stands that was never seen before. Mostly none is, and counting is quick."""
        if self._windows == MAX_WINDOWS:  # nothing more is kept for one
            return []
        if self._latest and lines.count(b"CR3=") == lines.count(self._latest):
            return []
        places = []
        for match in _CR3.finditer(lines):
            self._latest = match[0]
            if match[0] in self._seen:
                continue
            if self._seen:
                places.append(lines.rfind(b"\n", 0, match.start()) + 1)
            self._seen.add(match[0])
            if self._windows + len(places) == MAX_WINDOWS:
                break
        return places

    def _store(self, lines: bytes) -> None:
        room = self._keep_until - self.total_bytes
        self.total_bytes += len(lines)
        if room >= len(lines):
            self._out.write(lines)
            return
        if room > 0:
            cut = lines.find(b"\n", room) + 1 or len(lines)
            self._out.write(lines[:cut])
            lines = lines[cut:]
        if lines:
            self._tail.append(lines)
            self._tail_bytes += len(lines)
            while (excess := self._tail_bytes - TAIL_BYTES) > 0:
                oldest = self._tail.popleft()
                cut = oldest.find(b"\n", excess) + 1 or len(oldest)
                if cut < len(oldest):
                    self._tail.appendleft(oldest[cut:])
                self._drop(oldest[:cut])

    def _drop(self, lines: bytes) -> None:
        self._tail_bytes -= len(lines)
        self._dropped_bytes += len(lines)
        self._dropped_records += lines.count(RECORD)

    def _release_tail(self) -> None:
        if self._dropped_bytes:
            self._out.write(left_out(self._dropped_records, self._dropped_bytes))
            self._dropped_bytes = self._dropped_records = 0
        self._out.writelines(self._tail)
        self._tail.clear()
        self._tail_bytes = 0
