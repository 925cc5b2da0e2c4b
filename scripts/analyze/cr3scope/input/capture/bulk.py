"""Reads what a loader may write for each page that it maps, ten thousands of records, many at once.

One regular expression stands for a whole record of a kind, in the order in which writers put its fields. Whatever it
does not match, and whatever else is unusual about a record, ends the run: then it is read like any other, which says
what is wrong with it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable

from cr3scope.input.capture.fields import NUMBER, Malformed, text
from cr3scope.input.capture.framing import MAJOR_VERSION, RECORD_BYTES, SENTINEL, Run
from cr3scope.input.capture.kinds import MEMORY_TYPES, PAGE_SIZES, RIGHTS
from cr3scope.input.capture.records import Boot, MapRecord, RegionRecord, SetRecord, TableRecord
from cr3scope.x86.entry import ENTRIES

_MOST_ROWS = 1024  # of one run: what is held of them before they are typed
_ANY_NUMBER = NUMBER.pattern
_TEXT = r"""[!"$-+\--<>?A-~]*"""
_LEVEL = "[1-5]"
_SIZE = "|".join(f"{size:x}" for size in PAGE_SIZES)
_SHAPES = {
    "map": (("name", _TEXT), ("role", _TEXT), ("virt", _ANY_NUMBER), ("last", _ANY_NUMBER), ("phys", _ANY_NUMBER),
            ("rights", RIGHTS.pattern), ("size", _SIZE), ("type", "|".join(MEMORY_TYPES)), ("caller", _ANY_NUMBER)),
    "region": (("name", _TEXT), ("role", _TEXT), ("virt", _ANY_NUMBER), ("last", _ANY_NUMBER)),
    "table": (("phys", _ANY_NUMBER), ("level", _LEVEL), ("parent", _ANY_NUMBER), ("caller", _ANY_NUMBER)),
    "set": (("entry", _ANY_NUMBER), ("level", _LEVEL), ("index", _ANY_NUMBER), ("old", _ANY_NUMBER), ("new", _ANY_NUMBER),
            ("caller", _ANY_NUMBER)),
}  # fmt: skip
_OPTIONAL = {"region": f"(?:[ ]phys=({_ANY_NUMBER}))?"}

_SENTINEL = (SENTINEL + MAJOR_VERSION).decode()


def run_at(data: bytes, offset: int, line: int) -> Run | None:
    """Return the run that begins at ``offset``, which is the beginning of a line, at most some thousand records long;
    None if none does.
    """
    head = _HEAD.match(data, offset)
    if head is None:
        return None
    kind = head[2].decode()
    match = _RECORDS[kind].match
    first = due = int(head[1], 16)
    rows: list[list[bytes]] = []
    end = offset
    while len(rows) < _MOST_ROWS and (found := match(data, end)) is not None:
        sequence, *row, checksum = found.groups()
        sum_at = found.start(found.re.groups)
        if int(sequence, 16) != due or sum_at + len(checksum) - end > RECORD_BYTES:
            break
        if zlib.crc32(data[end : sum_at - 1]) != int(checksum, 16):
            break
        rows.append(row)
        end = found.end()
        due += 1
    return Run(kind, line, first, rows, offset, data[offset:end]) if rows else None


def take(run: Run, boot: Boot) -> None:
    """Put the records of a run into the boot; Malformed if the fields of one make no sense: then none is taken."""
    _TAKERS[run.kind](run, boot)


def _maps(run: Run, boot: Boot) -> None:
    boot.maps += [
        MapRecord(line, _text(name), _text(role), *_range(virt, last), int(phys, 16), rights.decode(), int(size, 16),
                  memory_type.decode(), int(caller, 16))
        for line, (name, role, virt, last, phys, rights, size, memory_type, caller) in enumerate(run.rows, run.line)
    ]  # fmt: skip


def _regions(run: Run, boot: Boot) -> None:
    boot.regions += [
        RegionRecord(line, _text(name), _text(role), *_range(virt, last), None if phys is None else int(phys, 16))
        for line, (name, role, virt, last, phys) in enumerate(run.rows, run.line)
    ]


def _tables(run: Run, boot: Boot) -> None:
    boot.tables += [
        TableRecord(line, int(phys, 16), int(level), int(parent, 16), int(caller, 16))
        for line, (phys, level, parent, caller) in enumerate(run.rows, run.line)
    ]


def _sets(run: Run, boot: Boot) -> None:
    boot.sets += [
        SetRecord(line, int(entry, 16), int(level), _index(index), int(old, 16), int(new, 16), int(caller, 16))
        for line, (entry, level, index, old, new, caller) in enumerate(run.rows, run.line)
    ]


def _text(value: bytes) -> str:
    return text(value.decode(), "")


def _range(virt: bytes, last: bytes) -> tuple[int, int]:
    if int(last, 16) < int(virt, 16):
        raise Malformed("a range that ends before it starts")
    return int(virt, 16), int(last, 16)


def _index(value: bytes) -> int:
    if int(value, 16) >= ENTRIES:
        raise Malformed("no index of an entry")
    return int(value, 16)


_HEAD = re.compile(rf"{_SENTINEL} ({_ANY_NUMBER}) ({'|'.join(_SHAPES)}) ".encode())
_FIELDS = {kind: "".join(f"[ ]{key}=({pattern})" for key, pattern in shape) for kind, shape in _SHAPES.items()}
_RECORDS = {
    kind: re.compile(
        rf"{_SENTINEL}[ ]({_ANY_NUMBER})[ ]{kind}{fields}{_OPTIONAL.get(kind, '')}[ ]\#([0-9a-f]{{8}})\r?\n(?!\n)".encode()
    )
    for kind, fields in _FIELDS.items()
}
_TAKERS: dict[str, Callable[[Run, Boot], None]] = {"map": _maps, "region": _regions, "table": _tables, "set": _sets}
