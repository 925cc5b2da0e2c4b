"""A log of any size, read in windows: of a long one never more is in memory than is looked at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cr3scope.errors import UnusableInput
from cr3scope.input.plain_file import open_plain
from cr3scope.input.wide_text import PROBE, encoding_of

WINDOW = 1 << 20
_FIRST_WINDOW = 1 << 14  # what is looked for is often near


class LogFile:
    """Bytes of a text file by offset. UTF-16, as some shells redirect, is read as well, and lines that end in CR alone."""

    def __init__(self, path: Path, name: str | None = None) -> None:
        """``name`` is what messages call it."""
        self.name = name or str(path)
        self._file = open_plain(path)
        self._descriptor = self._file.fileno()
        try:
            self._bytes = os.fstat(self._descriptor).st_size
            begin = os.pread(self._descriptor, _FIRST_WINDOW, 0) if self._bytes else b""
        except OSError as error:
            raise UnusableInput(f"{self.name}: {error.strerror}") from error
        self._skip, self._wide = encoding_of(begin[:PROBE])
        self._has_cr_alone = b"\r" in begin and b"\n" not in begin
        self.size = self._bytes if self._wide is None else (self._bytes - self._skip) // 2
        self._whole: bytes | None = None  # of one that is no longer than a window
        if self.size <= WINDOW:
            self._whole = self.read(0, self.size)

    def __enter__(self) -> LogFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, start: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``start``; fewer at the end."""
        start, size = max(start, 0), max(min(size, self.size - start), 0)
        if self._whole is not None:
            return self._whole[start : start + size]
        try:
            if self._wide is None:
                data = os.pread(self._descriptor, size, start)
            else:
                data = os.pread(self._descriptor, 2 * size, self._skip + 2 * start)[self._wide :: 2]
        except OSError as error:
            raise UnusableInput(f"{self.name}: {error.strerror}") from error
        return data.replace(b"\r", b"\n") if self._has_cr_alone else data

    def find(self, wanted: bytes, start: int = 0, end: int | None = None) -> int:
        """Return the first place of ``wanted`` in ``start``..``end``; -1 if it is not there."""
        if self._whole is not None:
            return self._whole.find(wanted, max(start, 0), end)
        for at, data in self._windows(start, self.size if end is None else end, len(wanted)):
            found = data.find(wanted)
            if found >= 0:
                return at + found
        return -1

    def rfind(self, wanted: bytes, start: int = 0, end: int | None = None) -> int:
        """Return the last place of ``wanted`` in ``start``..``end``; -1 if it is not there."""
        end = self.size if end is None else min(end, self.size)
        if self._whole is not None:
            return self._whole.rfind(wanted, max(start, 0), max(end, 0))
        while end > start:
            begin = max(end - WINDOW, start)
            found = self.read(begin, end - begin).rfind(wanted)
            if found >= 0:
                return begin + found
            if begin == start:
                break
            end = begin + len(wanted) - 1
        return -1

    def lines(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """Yield (offset, line without its end) of each line from the one at ``start`` on; one that is longer than a window comes in
        pieces."""
        start = self.rfind(b"\n", max(start - WINDOW, 0), start) + 1
        while data := self.read(start, WINDOW):
            is_last = start + len(data) >= self.size
            end = len(data) if is_last else data.rfind(b"\n") + 1 or len(data)
            at = start
            for line in data[:end].split(b"\n"):
                if at < start + end:
                    yield at, line.removesuffix(b"\r")
                at += len(line) + 1
            start += end

    def _windows(self, start: int, end: int, overlap: int) -> Iterator[tuple[int, bytes]]:
        window = _FIRST_WINDOW
        while start < end:
            data = self.read(start, min(window + overlap, end - start))
            if not data:
                return
            yield start, data
            start += window
            window = min(2 * window, WINDOW)


class LogText(LogFile):
    """The text itself in the place of a file."""

    def __init__(self, text: bytes, name: str) -> None:
        """``name`` is what messages call it."""
        self.name, self.size = name, len(text)
        self._whole = text

    def __exit__(self, *_: object) -> None:
        self._whole = None


class LogPart:
    """The part ``first``..``end`` (excluded) of a log, by the offsets of the whole; ``size`` is the end.

    Nothing is found outside of it; what is before it can be read.
    """

    def __init__(self, whole: LogFile, first: int, end: int) -> None:
        self.whole, self.first, self.size = whole, first, end
        self.name = whole.name

    def read(self, start: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``start``; fewer at the end of the part."""
        return self.whole.read(start, min(size, self.size - start))

    def find(self, wanted: bytes, start: int = 0, end: int | None = None) -> int:
        """Return the first place of ``wanted`` in ``start``..``end``; -1 if it is not there."""
        return self.whole.find(wanted, max(start, self.first), self.size if end is None else min(end, self.size))

    def rfind(self, wanted: bytes, start: int = 0, end: int | None = None) -> int:
        """Return the last place of ``wanted`` in ``start``..``end``; -1 if it is not there."""
        return self.whole.rfind(wanted, max(start, self.first), self.size if end is None else min(end, self.size))
