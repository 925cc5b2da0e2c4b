"""A second reading of docs/trace-format.md, for intact traces: it stops at the first difference.

It shares no code with the C library nor with the analyzer: none can agree with its own mistake.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

RECORD = re.compile(
    rb"@c3s1 (0|[1-9a-f][0-9a-f]*) ([a-z][a-z0-9-]*)((?: [a-z][a-z0-9_]*=[!-~]*)*) #([0-9a-f]{8})\n"
)
RECORD_BYTES = 512
ENTRIES = 512
WORD = 1 << 64
ACCESSED_DIRTY = 0x60


class FormatError(Exception):
    """The bytes are not as the format has them."""


@dataclass(frozen=True, slots=True)
class Record:
    kind: str
    fields: dict[str, str]

    def number(self, key: str) -> int:
        text = self.fields[key]
        require(re.fullmatch(r"0|[1-9a-f][0-9a-f]{0,15}", text) is not None, f"{key}={text}")
        return int(text, 16)


@dataclass(frozen=True, slots=True)
class Table:
    """A table page of a dump; ``entries`` is None where the writer could not read it."""

    phys: int
    level: int
    entries: list[int] | None


def require(condition: bool, what: str) -> None:
    """Raises FormatError unless the condition holds."""
    if not condition:
        raise FormatError(what)


def records(trace: bytes) -> list[Record]:
    """Every record of a trace that starts with ``begin`` and stops after ``end``."""
    found = []
    for sequence, line in enumerate(trace.splitlines(keepends=True)):
        match = RECORD.fullmatch(line)
        if match is None or len(line) > RECORD_BYTES:
            raise FormatError(f"no record: {line!r}")
        require(int(match[1], 16) == sequence, f"sequence {match[1]!r} for {sequence:x}")
        require(int(match[4], 16) == zlib.crc32(line[: match.start(4) - 1]), f"CRC of {line!r}")
        fields = [field.split("=", 1) for field in match[3].decode().split()]
        require(len({key for key, _ in fields}) == len(fields), f"a key twice: {line!r}")
        found.append(Record(match[2].decode(), {key: value for key, value in fields}))
    require(found[0].kind == "begin", "the first record is no begin")
    end = found[-1]
    before = trace[: trace.rindex(b"@c3s")]
    require(end.kind == "end", "the last record is no end")
    require(end.number("records") == len(found) - 1, "records of end")
    require(end.number("bytes") == len(before), "bytes of end")
    require(end.number("crc") == zlib.crc32(before), "crc of end")
    return found


def carried(found: list[Record], kind: str) -> tuple[Record, bytes, Record]:
    """The opening record of that kind, the bytes of its ``d`` records, and its closing record."""
    start = next(i for i, record in enumerate(found) if record.kind == kind)
    data = b""
    for record in found[start + 1 :]:
        if record.kind == f"{kind}-end":
            require(record.number("bytes") == len(data), f"bytes of {kind}-end")
            require(record.number("crc") == zlib.crc32(data), f"crc of {kind}-end")
            return found[start], data, record
        require(record.kind == "d", f"{record.kind} inside {kind}")
        require(record.number("o") == len(data), "offset of d")
        piece = base64.b64decode(record.fields["b"], validate=True)
        require(len(piece) > 0, "an empty d")
        data += piece
    raise FormatError(f"{kind} is not closed")


class Stream:
    """Reads numbers off a decoded byte stream."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def at_end(self) -> bool:
        return self._at == len(self._data)

    def take(self, count: int) -> bytes:
        require(self._at + count <= len(self._data), "the stream is cut")
        self._at += count
        return self._data[self._at - count : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                require(value < WORD, "a varint above 64 bits")
                return value
        raise FormatError("a varint of more than ten bytes")

    def signed(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def words(self, total: int) -> list[int]:
        """One plane of run-coded words."""
        words: list[int] = []
        previous = 0
        while len(words) < total:
            head = self.varint()
            count = head >> 1
            require(1 <= count <= total - len(words), f"a run of {count} words")
            first = (previous + self.signed()) % WORD
            stride = self.signed() if head & 1 else 0
            words.extend((first + i * stride) % WORD for i in range(count))
            previous = words[-1]
        return words

    def entries(self) -> list[int]:
        """The two planes of a table."""
        values = self.words(ENTRIES)
        used: list[int] = []
        while len(used) < ENTRIES:
            head = self.varint()
            require(1 <= head >> 2 <= ENTRIES - len(used), f"a run of {head >> 2} entries")
            used.extend([head & 3] * (head >> 2))
        entries = []
        for value, bits in zip(values, used, strict=True):
            entry = value >> 1 | (value & 1) << 63
            require(entry & ACCESSED_DIRTY == 0, "accessed or dirty in the plane of values")
            entries.append(entry | bits << 5)
        return entries


def tables(data: bytes) -> Iterator[Table]:
    """The table pages of a dump stream, in its order."""
    stream = Stream(data)
    page = 0
    last: Table | None = None
    while (operation := stream.byte()) != 0:
        if operation == 2:
            count, page_step, value_step = stream.varint(), stream.signed(), stream.signed()
            require(count >= 1, "no repeat")
            for _ in range(count):
                if last is None or last.entries is None:
                    raise FormatError("a repeat of nothing")
                page += page_step
                entries = [(e + value_step) % WORD if e & 1 else e for e in last.entries]
                last = Table(page << 12, last.level, entries)
                yield last
            continue
        page += stream.signed() + 1
        level = stream.byte()
        require(0 <= page < 1 << 40 and 1 <= level <= 5, f"page {page:x} at level {level}")
        if operation == 1:
            last = Table(page << 12, level, stream.entries())
        elif operation == 3:
            raw = stream.take(8 * ENTRIES)
            words = [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)]
            last = Table(page << 12, level, words)
        elif operation == 4:
            last = Table(page << 12, level, None)
        else:
            raise FormatError(f"operation {operation:02x}")
        yield last
    require(stream.at_end(), "bytes after the end of the stream")


def memory(opening: Record, data: bytes) -> bytes:
    """The bytes that a ``memory`` carries."""
    planes, length = opening.number("words"), opening.number("length")
    if planes == 0:
        require(len(data) == length, "length of memory")
        return data
    stream = Stream(data)
    count = (length + 7) // 8
    words = [0] * count
    for plane in range(planes):
        words[plane::planes] = stream.words(len(words[plane::planes]))
    require(stream.at_end(), "bytes after the last plane")
    padded = b"".join(word.to_bytes(8, "little") for word in words)
    require(not any(padded[length:]), "padding is not zero")
    return padded[:length]
