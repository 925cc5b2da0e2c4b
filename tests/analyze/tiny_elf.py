"""An ELF file of a kernel, as small as one can be."""

from __future__ import annotations

import struct
from pathlib import Path

_HEADER, _PROGRAM, _SECTION = 64, 56, 64
_NAMES = b"\0.note\0.shstrtab\0"


def write(path: Path, entry: int, segments: list[tuple[int, int, bytes, int]], notes: bytes = b"") -> Path:
    """A file that is linked where it runs; a segment is its address, flags, bytes and size in memory.

    ``notes`` are a section and a segment.
    """
    at = _HEADER + _PROGRAM * (len(segments) + 1)
    programs, data = b"", b""
    for virt, flags, content, memsz in segments:
        place = at + len(data)
        programs += struct.pack("<IIQQQQQQ", 1, flags, place, virt, virt, len(content), memsz, 1)
        data += content
    notes_at = at + len(data)
    programs += struct.pack("<IIQQQQQQ", 4, 4, notes_at, 0, 0, len(notes), len(notes), 4)
    names_at = notes_at + len(notes)
    sections = bytes(_SECTION)
    sections += struct.pack("<IIQQQQIIQQ", 1, 7, 2, 0, notes_at, len(notes), 0, 0, 4, 0)
    sections += struct.pack("<IIQQQQIIQQ", 7, 3, 0, 0, names_at, len(_NAMES), 0, 0, 1, 0)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, entry, _HEADER, names_at + len(_NAMES), 0, _HEADER, _PROGRAM, len(segments) + 1, _SECTION, 3, 2
    )
    path.write_bytes(header + programs + data + notes + _NAMES + sections)
    return path


def declares(rip: int, offset: int, base: int, owner: bytes = b"CR3SCOPE\0") -> bytes:
    """A note of the kernel's that it reads 8 bytes."""
    words = struct.pack("<QqIII36s", rip, offset, 1, base, 8, b"a read")
    return struct.pack("<III", len(owner), len(words), 2) + owner.ljust(len(owner) + -len(owner) % 4, b"\0") + words


def flags(words: int) -> bytes:
    """A note of what a kernel does beside what it must: 1 if it goes on with the trace."""
    owner = b"CR3SCOPE\0"
    return struct.pack("<III", len(owner), 4, 1) + owner.ljust(12, b"\0") + struct.pack("<I", words)
