"""Writes the photo stream and its frames from their description, for tests: docs/trace-format.md."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

from cr3scope.input.photo.words import WORDS

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"
_TWO = [low + high for high in _ALPHABET for low in _ALPHABET]
Value = int | str
BEGIN: tuple[str, dict[str, Value]] = ("begin", {"producer": "kernel", "version": "0.1.0"})


def stream(*records: tuple[str, dict[str, Value]], lost: int = 0) -> bytes:
    """Return a stream of records, each with all of its keys."""
    out = bytearray([1, lost & 0xFF, lost >> 8])
    for kind, fields in records:
        out += bytes([WORDS.index(kind) + 1, len(fields), *(WORDS.index(key) + 1 for key in fields)])
        for value in fields.values():
            if isinstance(value, int):
                count = (value.bit_length() + 7) // 8
                out += bytes([count]) + value.to_bytes(count, "little")
            else:
                out += bytes([0x22, len(value)]) + value.encode()
    return bytes(out)


def base45(data: bytes) -> str:
    """Return the bytes as RFC 9285 writes them."""
    whole = len(data) // 2
    out = "".join(_TWO[value % 45**2] + _ALPHABET[value // 45**2] for value in struct.unpack_from(f">{whole}H", data))
    return out + "".join(_TWO[value] for value in data[2 * whole :])


def frame(whole: int, number: int, count: int, data: bytes, version: int = 1) -> str:
    """Return the text of a code; ``whole``: the checksum of the stream."""
    body = bytes([version]) + whole.to_bytes(4, "little") + bytes([number, count]) + data
    return "C3S:" + base45(body + zlib.crc32(body).to_bytes(4, "little"))


def frames(data: bytes, room: int) -> Sequence[str]:
    """Return the texts of all codes of a stream, of ``room`` bytes each."""
    parts = [data[at : at + room] for at in range(0, len(data), room)]
    return [frame(zlib.crc32(data), number, len(parts), part) for number, part in enumerate(parts)]


_LEFT_OUT = ("mmap", "end", "close", "section", "check", "summary")


def packed(capture: bytes) -> bytes:
    """Return the stream of a capture's records, as a writer of one boot packs them: all values as text, or data."""
    out, skips = bytearray([1, 0, 0]), False
    for line in capture.split(b"@c3s1 ")[1:]:
        kind, *fields = line.split(b"\n")[0].decode().split(" ")[1:-1]
        pairs = [field.split("=", 1) for field in fields]
        skips = skips or (kind == "dump" and pairs[0][1] == "old")
        if not skips and kind not in _LEFT_OUT:
            out += bytes([WORDS.index(kind) + 1, len(pairs), *(WORDS.index(key) + 1 for key, _ in pairs)])
            for key, value in pairs:
                data = base64.b64decode(value) if key == "b" else value.encode()
                out += (b"\x21" + len(data).to_bytes(2, "little") if key == "b" else bytes([0x22, len(data)])) + data
        skips = skips and kind != "dump-end"
    return bytes(out)
