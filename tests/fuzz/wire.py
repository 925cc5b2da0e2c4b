"""A capture as records that can be changed: written again, its numbers, sizes and checksums are right."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

from analyze import trace_writer as writer
from host import format_decoder as decoder

CAPTURES = Path(__file__).resolve().parent.parent / "captures"
GOLDEN, REAL, TWO_CPUS = CAPTURES / "golden.trace", CAPTURES / "healthy.serial.log", CAPTURES / "healthy-two-cpus.serial.log"
_CHECKED = ("end", "dump-end", "memory-end")
_LINE_ROOM = 200


@dataclass
class Item:
    """A record: its fields as they stand on the wire. ``stream``: what the ``d`` records behind it carry."""

    kind: str
    fields: dict[str, str]
    stream: bytes | None = None
    honest: set[str] = field(default_factory=set)  # of its totals: those that are made right

    def number(self, key: str) -> int:
        """Return a field's number; 0 without one."""
        try:
            return int(self.fields.get(key, "0"), 16)
        except ValueError:
            return 0


def parse(data: bytes) -> list[Item]:
    """Return the records of an intact capture; what its ``d`` records carry is joined."""
    found: list[Item] = []
    for line in data.split(b"@c3s1 ")[1:]:
        words = line.split(b"\n")[0].decode().split(" ")
        kind, fields = words[1], dict(word.split("=", 1) for word in words[2:-1])
        if kind == "d":
            found[-1].stream = (found[-1].stream or b"") + base64.b64decode(fields["b"])
            continue
        honest = {"records", "bytes", "crc", "pages"} & set(fields) if kind in _CHECKED else set()
        found.append(Item(kind, fields, None, honest))
    return found


@cache
def base(path: Path) -> list[Item]:
    """Return the records of a capture that is kept, which may not be changed."""
    return parse(path.read_bytes())


def copied(items: Sequence[Item]) -> list[Item]:
    """Return records that may be changed."""
    return [Item(each.kind, dict(each.fields), each.stream, set(each.honest)) for each in items]


def written(items: Sequence[Item]) -> bytes:
    """Return the capture: sequence numbers, checksums and totals right where they are honest."""
    lines: list[bytes] = []
    size = crc = sequence = 0
    stream = b""
    for item in items:
        fields = dict(item.fields)
        if item.kind == "begin":
            size = crc = sequence = 0
        totals = {"records": sequence, "bytes": size, "crc": crc} if item.kind == "end" else {"bytes": len(stream), "crc": zlib.crc32(stream)}
        fields |= {key: f"{totals[key]:x}" for key in item.honest & set(totals) & set(fields)}
        for kind, words in [(item.kind, fields), *_carried(item.stream)]:
            body = "".join(f" {key}={value}" for key, value in words.items())
            lines.append(writer.seal(f"@c3s1 {sequence:x} {kind}{body}"))
            size, crc, sequence = size + len(lines[-1]), zlib.crc32(lines[-1], crc), sequence + 1
        stream = item.stream or b""
    return b"".join(lines)


def _carried(stream: bytes | None) -> Iterator[tuple[str, dict[str, str]]]:
    for at in range(0, len(stream or b""), _LINE_ROOM):
        yield "d", {"o": f"{at:x}", "b": base64.b64encode((stream or b"")[at : at + _LINE_ROOM]).decode()}


def dumped(items: Sequence[Item], name: str) -> Item | None:
    """Return the record that opens the last dump of that name."""
    return next((each for each in reversed(items) if each.kind == "dump" and each.fields.get("id") == name), None)


def tables_of(item: Item) -> dict[int, list[int]]:
    """Return the tables of a dump whose stream is whole, by address; FormatError if it is not."""
    return {phys: list(entries) for phys, _, entries in _decoded(item.stream or b"") if entries is not None}


@lru_cache(64)
def _decoded(stream: bytes) -> tuple[tuple[int, int, tuple[int, ...] | None], ...]:
    found = decoder.tables(stream)
    return tuple((each.phys, each.level, None if each.entries is None else tuple(each.entries)) for each in found)


@lru_cache(1024)
def _coded(entries: tuple[int, ...]) -> bytes:
    return writer.entries(entries)


def put_tables(item: Item, change: Mapping[int, Sequence[int]]) -> None:
    """Write other entries into a dump, and its totals."""
    out, last = b"", 0
    for phys, level, entries in _decoded(item.stream or b""):
        known = change.get(phys, entries)
        out += bytes([4 if known is None else 1]) + writer.zigzag((phys >> 12) - last - 1) + bytes([level])
        out += b"" if known is None else _coded(tuple(known))
        last = phys >> 12
    item.stream = out + b"\0"
