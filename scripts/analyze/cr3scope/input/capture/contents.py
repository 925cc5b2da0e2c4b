"""Puts the bytes of ``d`` records together and decodes what they carry: dumps and memory."""

from __future__ import annotations

import zlib
from dataclasses import field

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.input.capture.dump_stream import Budget, Pages, decode_tables, decode_words
from cr3scope.input.capture.fields import Fields, Malformed
from cr3scope.input.capture.records import Boot, Dump, MemoryContents
from cr3scope.input.capture.word_stream import StreamError


@dataclass(slots=True)
class _Open:
    """A dump or memory whose ``d`` records are arriving."""

    kind: str
    name: str
    line: int
    fields: Fields
    data: bytearray = field(default_factory=bytearray)

    def describe(self) -> str:
        return f"{self.kind} {self.name}"


class Contents:
    """The open dump or memory of a capture, and the budget of what it may decode to."""

    def __init__(self) -> None:
        self._open: _Open | None = None
        self._tables = Budget(limits.CAPTURE_TABLES)
        self._bytes_left = limits.CAPTURE_DECODED_BYTES
        # A machine that resets and boots again dumps the same tables again: decoded once.
        self._decoded: dict[bytes, Pages] = {}

    def interrupt(self) -> str | None:
        """Give up what is open; return what that was, None if nothing is."""
        left, self._open = self._open, None
        return None if left is None else f"{left.describe()} is not closed"

    def open(self, kind: str, fields: Fields, line: int) -> None:
        """Begin what a ``dump`` or ``memory`` record announces."""
        unclosed = self.interrupt()
        if kind == "dump":
            name = fields.word("id", "old", "new", "after")
            fields.number("cr3")
            if fields.number("levels") not in (4, 5):
                raise Malformed("field levels is neither 4 nor 5")
        else:
            name = fields.text("name")
            fields.word("when", "entry", "handoff")
            fields.number("virt")
            fields.number("length", limits.CAPTURE_MEMORY_BYTES)
            fields.number("words")
        self._open = _Open(kind, name, line, fields)
        if unclosed is not None:
            raise Malformed(unclosed)

    def add(self, fields: Fields) -> None:
        """Take a ``d`` record: the next bytes."""
        if self._open is None:
            raise Malformed("data outside of a dump or memory")
        offset, have = fields.number("o"), len(self._open.data)
        if offset != have:
            raise Malformed(f"data of offset {offset:#x} where {have:#x} was due")
        self._open.data += fields.data("b")

    def close(self, kind: str, fields: Fields, boot: Boot) -> None:
        """Check the totals at a ``dump-end`` or ``memory-end``, and decode what came."""
        opened = kind.removesuffix("-end")
        name = fields.text("id" if opened == "dump" else "name")
        current, self._open = self._open, None
        if current is None or (current.kind, current.name) != (opened, name):
            raise Malformed(f"{opened} {name} ends, but it is not open")
        data = bytes(current.data)
        if fields.number("bytes") != len(data) or fields.number("crc") != zlib.crc32(data):
            raise Malformed(f"{opened} {name} does not have the bytes that its end counted")
        try:
            if opened == "dump":
                self._dump(current, data, fields.number("pages"), boot)
            else:
                self._memory(current, data, boot)
        except StreamError as error:
            raise Malformed(f"{opened} {name}: {error}") from None

    def _dump(self, current: _Open, data: bytes, promised: int, boot: Boot) -> None:
        if current.name in boot.dumps:
            raise Malformed(f"dump {current.name} stands twice")
        pages = self._decoded.get(data)
        if pages is None:
            pages = decode_tables(data, self._tables)
            self._decoded[data] = pages
        if pages.count != promised:
            raise Malformed(
                f"dump {current.name} holds {pages.count} table pages, its end counted {promised}"
            )
        boot.dumps[current.name] = Dump(
            current.line,
            current.name,
            current.fields.number("cr3"),
            current.fields.number("levels"),
            pages.tables,
            frozenset(pages.unreadable),
        )

    def _memory(self, current: _Open, data: bytes, boot: Boot) -> None:
        fields = current.fields
        length, planes = fields.number("length"), fields.number("words")
        self._bytes_left -= length
        if self._bytes_left < 0:
            raise Malformed(f"more than {limits.CAPTURE_DECODED_BYTES} bytes of memory in one capture")
        if planes:
            data = decode_words(data, length, planes)
        if len(data) != length:
            raise Malformed(f"memory {current.name} has {len(data)} bytes, {length} were due")
        key = (current.name, fields.text("when"))
        if key in boot.memories:
            raise Malformed(f"memory {current.name} stands twice")
        boot.memories[key] = MemoryContents(current.line, *key, fields.number("virt"), data)
