"""What comes out of the guest's serial port: kept, copied to a file, watched for its end."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from cr3scope import limits
from cr3scope.input.capture.framing import SENTINEL
from cr3scope.input.logs.panic import panics
from cr3scope.input.logs.screen import SCREEN, SCREEN_ENDS
from cr3scope.qemu.awaited import EXPECT, FAIL, NOTHING, UNTIL, Awaited, TooSlow, first_match, line_of
from cr3scope.render.output_file import open_new
from cr3scope.verdict.types import Unsaid

_LONGEST = 1024  # longer than any record (docs/trace-format.md) or line of the firmware's screen

_RECORD = re.compile(rb"(@c3s\d+ [0-9a-f]+ (fault|error|end) [^\n@]*)#([0-9a-f]{8})\r?\n")
_BOOTING = re.compile(rb"BdsDxe: starting Boot")  # edk2, on every console, before the first instruction of what it starts


class Sign(Enum):
    """What was seen on the wire that means something: mostly that the guest has (almost) said all it will say."""

    FAULT_RECORD = "fault"
    ERROR_RECORD = "error"
    TRACE_ENDED = "end"
    AWAITED = "what the run waits for"
    REFUSED = "what must not be said"
    BOOTING = "the firmware starts a boot option"
    KERNEL_PANIC = "a kernel gives up"
    SCREEN_STARTED = "the firmware's exception screen begins"
    SCREEN_COMPLETE = "the firmware's exception screen"


class SerialPort:
    """Everything received, bounded: its beginning and its end; ``path`` gets the same bytes, the beginning as it comes."""

    def __init__(self, path: Path, awaited: Awaited = NOTHING) -> None:
        self._awaited = awaited
        self._file = open_new(path, buffering=0)
        self._window = b""
        self._head, self._tail = bytearray(), bytearray()
        self._most_tail = limits.SERIAL_BYTES // 4
        self._most_head = limits.SERIAL_BYTES - self._most_tail
        self.total = 0  # bytes so far, left-out ones included
        wanted = {EXPECT: awaited.expect, UNTIL: awaited.until}
        self._unsaid = {option: pattern for option, pattern in wanted.items() if pattern is not None}
        self.refused: str | None = None  # the first line that must not be said
        self.too_slow: list[str] = []  # patterns that were given up: whether what they stand for was said nobody knows
        self._panic: str | None = None
        self.error: OSError | None = None  # the disk is full, say; what is received is still judged
        self.is_traced = False  # a trace has begun
        self.fed_at = time.monotonic()

    @property
    def unsaid(self) -> tuple[Unsaid, ...]:
        """Return what was to be said and was not, as far as that is known."""
        asked = ((option, pattern) for option, pattern in self._unsaid.items() if option not in self.too_slow)
        return tuple(Unsaid(option, pattern.pattern.decode(errors="replace")) for option, pattern in asked)

    @property
    def panic(self) -> str | None:
        """Return why a kernel gave up first, in its own words, wherever that was said, and even if nothing ends the line; None if none did."""
        if self._panic is not None:
            return self._panic
        last = self._window.rfind(SENTINEL)
        unended = (found.words for found in panics(self._window, len(self._window) == self.total) if found.end < 0 and found.offset > last)
        return next(unended, None)

    @property
    def received(self) -> bytes:
        """Return what was kept; a line of its own stands where bytes were left out."""
        if not self.left_out:
            return bytes(self._head + self._tail)
        return bytes(self._head + b"\n[cr3scope: %d bytes left out]\n" % self.left_out + self._end())

    @property
    def left_out(self) -> int:
        """Return the number of bytes between the beginning and the end."""
        return self.total - len(self._head) - min(len(self._tail), self._most_tail)

    @property
    def last_line(self) -> bytes:
        """Return the last line that is not empty, as far as it has come."""
        return self._window.rstrip().rsplit(b"\n", 1)[-1]

    def feed(self, data: bytes) -> list[Sign]:
        """Take what has come; return the signs that it completes, in no special order."""
        self.fed_at = time.monotonic()
        self.total += len(data)
        room = self._most_head - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._most_tail:  # moved seldom
            self._tail = self._end()
        self._write(data[:room])
        window = self._window + data
        panicked = [found for found in panics(window, len(window) == self.total) if found.end >= len(self._window)]
        signs = [*self._signs(window), *self._awaited_signs(window, is_cut=len(window) < self.total)]
        if panicked:
            signs.append(Sign.KERNEL_PANIC)
        if not self.is_traced and SENTINEL in window:  # what was said before that is of another boot
            self.is_traced, self._panic = True, None
            panicked = [found for found in panicked if found.offset > window.index(SENTINEL)]
        if panicked and self._panic is None:
            self._panic = panicked[0].words
        self._window = window[-_LONGEST:]
        return signs

    def close(self) -> None:
        """Write the end, and close the file."""
        self._write(self.received[len(self._head) :])
        self._file.close()

    def _end(self) -> bytearray:
        return self._tail[-self._most_tail :]

    def _write(self, data: bytes) -> None:
        """A full disk costs the file, not the verdict."""
        while data and self.error is None:
            try:
                data = data[self._file.write(data) :]
            except OSError as error:
                self.error = error

    def _signs(self, window: bytes) -> list[Sign]:
        """Looks only at what ends in the new data, so that nothing is told twice."""
        old = len(self._window)
        signs = []
        for match in _RECORD.finditer(window):
            whole = match.end() > old and zlib.crc32(match[1]) == int(match[3], 16)
            if whole and (match[2] != b"end" or b" next=none " in match[1]):
                signs.append(Sign(match[2].decode()))
        if any(match.end() > old for match in _BOOTING.finditer(window)):
            signs.append(Sign.BOOTING)
        if any(match.end() > old for match in SCREEN_ENDS.finditer(window)):
            signs.append(Sign.SCREEN_COMPLETE)
        elif any(match.end() > old for match in SCREEN.finditer(window)):
            signs.append(Sign.SCREEN_STARTED)
        return signs

    def _awaited_signs(self, window: bytes, is_cut: bool) -> Iterator[Sign]:
        """Of one that must not be said the first counts. ``is_cut``: more came before, so that it may begin within a line."""
        until, fail, expect = self._awaited.until, self._awaited.fail, self._awaited.expect
        if until is None and not self._unsaid and (fail is None or self.refused is not None):
            return
        lines = window.replace(b"\r\n", b"\n").removesuffix(b"\r")
        texts, first = (lines, window), int(is_cut)  # `^` looks at the byte before
        if fail is not None and self.refused is None and (found := self._search(FAIL, fail, texts, first)):
            self.refused = line_of(*found)
            yield Sign.REFUSED
        if expect is not None and EXPECT in self._unsaid and self._search(EXPECT, expect, texts, first):
            del self._unsaid[EXPECT]
        if until is not None and self._search(UNTIL, until, texts, first):
            self._unsaid.pop(UNTIL, None)
            yield Sign.AWAITED

    def _search(
        self, option: str, pattern: re.Pattern[bytes], texts: tuple[bytes, bytes], start: int
    ) -> tuple[bytes, re.Match[bytes]] | None:
        """The first match, in what text; None of a pattern that was given up."""
        if option in self.too_slow:
            return None
        try:
            return first_match(pattern, texts, start)
        except TooSlow:
            self.too_slow.append(option)
            return None
