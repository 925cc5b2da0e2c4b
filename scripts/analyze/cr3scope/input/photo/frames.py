"""The texts of QR codes, put together: frames in any order and from several pictures, one stream out."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

from cr3scope.dataclass import dataclass
from cr3scope.errors import UnusableInput
from cr3scope.input.photo.signs import MARK

_FRAME_VERSION = 1
_HEAD, _TAIL = 7, 4
_ALPHABET = {character: value for value, character in enumerate("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")}


@dataclass(frozen=True, slots=True)
class Frame:
    """One code: a part of the stream whose CRC-32 is ``stream``."""

    stream: int
    number: int  # from 0
    count: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Joined:
    """The stream, as far as its frames are there without a gap from the first; ``missing``: numbers, from 1."""

    data: bytes
    missing: tuple[int, ...]
    count: int

    @property
    def is_whole(self) -> bool:
        """Return whether no frame is missing."""
        return not self.missing


class BadFrame(Exception):
    """A text that begins like a frame and is none. The message says why."""


def frame(text: str) -> Frame:
    """Return the frame that a code's text is; BadFrame if its checksum or its form is wrong."""
    data = _unspelled(text.removeprefix(MARK))
    if len(data) <= _HEAD + _TAIL or zlib.crc32(data[:-_TAIL]) != int.from_bytes(data[-_TAIL:], "little"):
        raise BadFrame("its checksum is wrong")
    if data[0] != _FRAME_VERSION:
        raise BadFrame(f"it is of version {data[0]}; this reads {_FRAME_VERSION}")
    number, count = data[5], data[6]
    if number >= count:
        raise BadFrame(f"it says that it is number {number + 1} of {count}")
    return Frame(int.from_bytes(data[1:5], "little"), number, count, data[_HEAD:-_TAIL])


def join(frames: Iterable[Frame], source: str) -> Joined:
    """Return what the frames come to; UnusableInput if there is none, or if they are of several boots or disagree."""
    found: dict[int, Frame] = {}
    first: Frame | None = None
    for one in frames:
        first = first or one
        if (one.stream, one.count) != (first.stream, first.count):
            raise UnusableInput(
                f"{source}: the codes are of two different screens ({first.stream:08x} and {one.stream:08x}): give those of one at a time"
            )
        if found.setdefault(one.number, one) != one:
            raise UnusableInput(f"{source}: two different codes say that they are number {one.number + 1}")
    if first is None:
        raise UnusableInput(f"{source}: no code of cr3scope in it")
    missing = tuple(number + 1 for number in range(first.count) if number not in found)
    data = b"".join(found[number].data for number in range(missing[0] - 1 if missing else first.count))
    if not missing and zlib.crc32(data) != first.stream:
        raise UnusableInput(f"{source}: the checksum over all {first.count} codes is wrong")
    return Joined(data, missing, first.count)


def _unspelled(text: str) -> bytes:
    """The bytes of base45 (RFC 9285), three characters for two of them and two for the last one; BadFrame if it is none."""
    try:
        values = [_ALPHABET[character] for character in text]
    except KeyError as error:
        raise BadFrame(f"a character that no frame has: {error.args[0]!r}") from None
    left = len(values) % 3
    end = len(values) - left
    pairs = [low + 45 * middle + 45 * 45 * high for low, middle, high in zip(values[:end:3], values[1:end:3], values[2:end:3], strict=True)]
    last = [values[end] + 45 * values[end + 1]] if left == 2 else []
    try:
        if left != 1:
            return struct.pack(f">{len(pairs)}H{len(last)}B", *pairs, *last)
    except struct.error:  # one is too large
        pass
    raise BadFrame("its text is cut, or misread")
