"""Finds records among everything else that a channel carries: rules 1, 2 and 4 of the format."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from cr3scope.dataclass import dataclass
from cr3scope.input.diagnostic import Diagnostic

SENTINEL = b"@c3s"
MAJOR_VERSION = b"1"
RECORD_BYTES = 512

# Values leave out `#` and `@`, so that neither a checksum nor a sentinel can stand inside a record.
_RECORD = re.compile(
    rb"""@c3s(?P<version>[0-9]+)[ ]
         (?P<sequence>0|[1-9a-f][0-9a-f]{0,15})[ ]
         (?P<kind>[a-z][a-z0-9-]*)
         (?P<fields>(?:[ ][a-z][a-z0-9_]*=[!-"$-?A-~]*)*)[ ]
         \#(?P<crc>[0-9a-f]{8})""",
    re.VERBOSE,
)
_VERSION = re.compile(rb"@c3s([0-9]+) ")
_CHECKSUM = re.compile(rb" #([0-9a-f]{8})")
_CHECKSUM_BYTES = 10


class RawRecord(NamedTuple):
    """An intact record: its checksum and its grammar are right, its fields not yet looked at.

    ``wire`` is what the totals of ``end`` count: from ``@`` to LF, without a CR.
    """

    line: int
    offset: int
    sequence: int
    kind: str
    fields: bytes
    wire: bytes


@dataclass(frozen=True, slots=True)
class Torn(Diagnostic):
    """What begins like a record and cannot be read: a record that was damaged, or text that looks like one."""


@dataclass(frozen=True, slots=True)
class OtherVersion:
    """A record of a format that this reader does not know; ``intact`` if its checksum is right."""

    version: str
    intact: bool


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring records of one kind whose checksums are right and whose numbers follow one another.

    ``rows`` holds the values of each, as they stand on the wire; ``raw`` is all that stands there.
    """

    kind: str
    line: int
    sequence: int
    rows: Sequence[Sequence[bytes]]
    offset: int
    raw: bytes

    @property
    def end(self) -> int:
        """Return the offset behind it."""
        return self.offset + len(self.raw)


RunAt = Callable[[bytes, int, int], "Run | None"]


def records(data: bytes, run_at: RunAt | None = None) -> Iterator[RawRecord | Run | Diagnostic | OtherVersion]:
    """Yield everything that starts with a sentinel, in order. Takes time linear in ``data``.

    ``run_at`` returns the run that begins at an offset and a line, None if none does; without it there are none.
    """
    line, counted = 1, 0
    start = data.find(SENTINEL)
    while start >= 0:
        line += data.count(b"\n", counted, start)
        counted = start
        if start > 0 and data[start - 1] == ord("@"):
            yield Diagnostic("a stray `@` stands before a record", line, start - 1)
        following = data.find(SENTINEL, start + len(SENTINEL))
        stop = following if following >= 0 else len(data)
        newline = data.find(b"\n", start, stop)
        if newline < 0:
            why = "another record starts inside it" if following >= 0 else "the capture ends in it"
            yield from _other_version(data[start : start + RECORD_BYTES])
            yield Torn(f"damaged record: {why}", line, start)
        else:
            yield from _record(data, start, newline, line)
            after_record = newline + 1
            if data.startswith(b"\n", after_record):  # CR LF is what firmware prints
                yield Diagnostic("an empty line follows a record", line + 1, after_record)
            elif run_at is not None and following == after_record:
                while (run := run_at(data, following, line + 1)) is not None:
                    yield run
                    line, counted, following = line + len(run.rows), run.end - 1, run.end
                following = data.find(SENTINEL, following)
        start = following


def _record(
    data: bytes, start: int, newline: int, line: int
) -> Iterator[RawRecord | Diagnostic | OtherVersion]:
    end = newline - 1 if data[newline - 1] == ord("\r") else newline
    if end + 1 - start > RECORD_BYTES:
        yield from _other_version(data[start : start + RECORD_BYTES])
        yield Torn(f"damaged record: longer than {RECORD_BYTES} bytes", line, start)
        return
    body = data[start:end]
    checksum = _CHECKSUM.fullmatch(body[-_CHECKSUM_BYTES:])
    if checksum is None:
        yield from _other_version(body)
        yield Torn("damaged record: it does not end with a checksum", line, start)
        return
    if zlib.crc32(body[: 1 - _CHECKSUM_BYTES]) != int(checksum[1], 16):
        yield from _other_version(body)
        yield Torn("damaged record: its checksum differs", line, start)
        return
    match = _RECORD.fullmatch(body)
    if match is None or match["version"] != MAJOR_VERSION:
        yield from _other_version(body, intact=True)
    if match is None:
        yield Torn("damaged record: it breaks the grammar", line, start)
    elif match["version"] == MAJOR_VERSION:
        kind = match["kind"].decode()
        yield RawRecord(
            line, start, int(match["sequence"], 16), kind, match["fields"], body + b"\n"
        )


def _other_version(record: bytes, intact: bool = False) -> Iterator[OtherVersion]:
    version = _VERSION.match(record)
    if version is not None and version[1] != MAJOR_VERSION:
        yield OtherVersion(version[1].decode(), intact)
