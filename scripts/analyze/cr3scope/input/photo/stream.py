"""Unpacks the photo stream: bytes in, the text of a capture out."""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator

from cr3scope.dataclass import dataclass
from cr3scope.input.capture.framing import MAJOR_VERSION, SENTINEL
from cr3scope.input.photo.words import KINDS, WORDS
from cr3scope.x86.word import MASK64

_STREAM_VERSION = 1
_NUMBER, _FURTHER, _WORD, _DATA, _TEXT = 0x00, 0x10, 0x20, 0x21, 0x22
_MOST_KEYS = 30
_VALUE = re.compile(rb"[!-~]*")


class Damaged(Exception):
    """The stream does not follow its format. The message says what is wrong, and at which byte."""


@dataclass(frozen=True, slots=True)
class Unpacked:
    """The capture that a stream holds: its text, how many records the writer left out for want of room, whether
    the stream ends before its last record does."""

    text: bytes
    lost: int
    is_cut: bool


class _Cut(Exception):
    """The stream ends in the middle of a record."""


@dataclass(slots=True)
class _Bytes:
    data: bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise _Cut
        self.at += count
        return self.data[self.at - count : self.at]

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise _Cut
        self.at += 1
        return self.data[self.at - 1]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")


def unpack(data: bytes, is_whole: bool = True) -> Unpacked:
    """Return the capture in a stream; Damaged if it breaks the format. ``is_whole``: False if its end is known to be missing."""
    source = _Bytes(data)
    try:
        version, lost = source.byte(), source.number(2)
    except _Cut:
        raise Damaged("it ends before its first record") from None
    if version != _STREAM_VERSION:
        raise Damaged(f"it is of version {version}; this reads {_STREAM_VERSION}")
    bodies: list[bytes] = []
    is_cut = False
    try:
        bodies.extend(_bodies(source))
    except _Cut:
        is_cut = True
    if is_whole and is_cut:
        raise Damaged("it ends in the middle of a record")
    return Unpacked(_numbered(_in_order(bodies)), lost, is_cut or not is_whole)


def _bodies(source: _Bytes) -> Iterator[bytes]:
    """Kind and fields of each record. What came before a record that is cut was yielded."""
    shapes: dict[str, list[str]] = {}
    while source.at < len(source.data):
        place = source.at
        number = source.byte()
        if not 1 <= number <= len(KINDS):
            raise Damaged(f"no kind of record has number {number} (byte {place:#x})")
        kind = KINDS[number - 1]
        keys = _keys(source, shapes.get(kind), place)
        shapes[kind] = keys
        last = 0
        words: list[bytes] = [kind.encode()]
        for key in keys:
            value, last = _value(source, last, place)
            words.append(key.encode() + b"=" + value)
        yield b" ".join(words)


def _keys(source: _Bytes, as_before: list[str] | None, place: int) -> list[str]:
    count = source.byte()
    if count == 0:
        if as_before is None:
            raise Damaged(f"a record is like one before it, and there is none (byte {place:#x})")
        return as_before
    if count > _MOST_KEYS:
        raise Damaged(f"a record of {count} fields (byte {place:#x})")
    return [_word(source, place) for _ in range(count)]


def _word(source: _Bytes, place: int) -> str:
    number = source.byte()
    if not 1 <= number <= len(WORDS):
        raise Damaged(f"no word has number {number} (byte {place:#x})")
    return WORDS[number - 1]


def _value(source: _Bytes, last: int, place: int) -> tuple[bytes, int]:
    """A value as the format of a capture writes it, and the last number of the record."""
    form = source.byte()
    if form & 0xF0 in (_NUMBER, _FURTHER) and form & 0x0F <= 8:
        number = source.number(form & 0x0F) + (last if form >= _FURTHER else 0) & MASK64
        return b"%x" % number, number
    if form == _WORD:
        return _word(source, place).encode(), last
    if form == _DATA:
        return base64.b64encode(source.take(source.number(2))), last
    if form == _TEXT:
        text = source.take(source.byte())
        if not _VALUE.fullmatch(text) or SENTINEL in text or b"#" in text:
            raise Damaged(f"a text that no record holds (byte {place:#x})")
        return text, last
    raise Damaged(f"no value begins with {form:#04x} (byte {place:#x})")


def _in_order(bodies: list[bytes]) -> Iterator[bytes]:
    """The records as they were written: the exception, which comes first in the stream, was the last."""
    is_first = bool(bodies) and bodies[0].startswith(b"fault ")
    yield from bodies[1:] if is_first else bodies
    if is_first:
        yield bodies[0]


def _numbered(bodies: Iterator[bytes]) -> bytes:
    lines = []
    for number, body in enumerate(bodies):
        line = SENTINEL + MAJOR_VERSION + b" %x " % number + body + b" "
        lines.append(line + b"#%08x\n" % zlib.crc32(line))
    return b"".join(lines)
