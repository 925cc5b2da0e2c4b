"""Where, in what a machine says, it begins to boot again."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator

from cr3scope.input.firmware_words import RESET, STARTS

_MARK = re.compile(
    rb"(?P<begin>@c3s[0-9]{1,20} 0 begin [^\n@#]{1,480}#[0-9a-f]{8}\r?\n)|(?P<record>@c3s)|(?P<reset>" + RESET + rb")|(?P<starts>" + STARTS + rb")"
)
# What may become the record of a beginning once more has come.
_BEGUN = re.compile(rb"@(?:c(?:3(?:s[^\n@]{0,512})?)?)?\Z")
_CHECKSUM = 8
_BEFORE = 640  # bytes of what was given out that are looked at again: a record and more


def before_starts(data: bytes) -> Iterator[bytes]:
    """Yield what was said in pieces that end before firmware or a trace speaks up: whether a kernel has died until then decides on what it says."""
    begin = 0
    for mark in _MARK.finditer(data):
        if mark.lastgroup in ("begin", "reset", "starts"):
            yield data[begin : mark.start()]
            begin = mark.start()
    yield data[begin:]


class BootCutter:
    """Cuts what comes, in pieces of any length, into boots."""

    def __init__(self) -> None:
        self._held = b""
        self._window = b""  # the last that was given out of this boot
        self._is_traced = self._was_reset = False
        self.has_died = False  # who listens sets it: a kernel gave up, or the firmware printed its screen

    def feed(self, data: bytes) -> list[bytes]:
        """Return what was said, in pieces: each but the first begins a new boot, and the first may be empty.

        What may be a record's beginning is held back until its end has come.
        """
        text = self._held + data
        begun = _BEGUN.search(text, max(len(text) - _BEFORE, 0))
        end = begun.start() if begun else len(text)
        self._held = text[end:]
        return list(self._cut(text[:end]))

    def rest(self) -> bytes:
        """Return what is held back, as nothing more will come."""
        rest, self._held = self._held, b""
        return rest

    def start(self) -> None:
        """Begin with another boot."""
        self._window = b""
        self._is_traced = self._was_reset = self.has_died = False

    def _cut(self, text: bytes) -> Iterator[bytes]:
        seen, whole = len(self._window), self._window + text
        begin = seen
        first = 0  # of this boot, in ``whole``
        for mark in _MARK.finditer(whole):
            if mark.end() <= seen:
                continue
            if self._begins_again(mark, whole[first : mark.start()]):
                at = max(mark.start(), seen)
                yield whole[begin:at]
                begin = first = at
                self.start()
            self._is_traced = self._is_traced or mark.lastgroup in ("begin", "record")
            self._was_reset = self._was_reset or mark.lastgroup == "reset"
        yield whole[begin:]
        self._window = whole[first:][-_BEFORE:]

    def _begins_again(self, mark: re.Match[bytes], before: bytes) -> bool:
        if mark.lastgroup == "begin":
            return (self._is_traced or self.has_died) and _is_whole(mark[0]) and not before.endswith(mark[0])  # else that record twice
        if mark.lastgroup == "reset":
            return self._was_reset or self._is_traced or self.has_died
        return mark.lastgroup == "starts" and (self._is_traced or self.has_died)


def _is_whole(record: bytes) -> bool:
    """Whether a record is as its writer sent it, by its checksum."""
    body = record.rstrip(b"\r\n")
    return zlib.crc32(body[: -_CHECKSUM - 1]) == int(body[-_CHECKSUM:], 16)
