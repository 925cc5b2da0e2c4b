"""Notes of an ELF file: owner, type, and contents that are the owner's business (gABI, "Note Section")."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

_HEAD = struct.Struct("<III")  # lengths of owner and contents, type
_ALIGNED = 4


class Note(NamedTuple):
    """One note; ``owner`` is without the NUL that ends it."""

    owner: bytes
    kind: int
    contents: bytes


def read_notes(section: bytes) -> Iterator[Note]:
    """Yield each note of a section or segment; ValueError if one of them reaches beyond it."""
    at = 0
    while len(section) - at >= _HEAD.size:
        owner_bytes, bytes_, kind = _HEAD.unpack_from(section, at)
        owner_at = at + _HEAD.size
        begin = owner_at + owner_bytes + -owner_bytes % _ALIGNED
        if begin + bytes_ > len(section):
            raise ValueError(f"the note at its byte {at:#x} reaches beyond its end")
        yield Note(section[owner_at : owner_at + owner_bytes].rstrip(b"\0"), kind, section[begin : begin + bytes_])
        at = begin + bytes_ + -bytes_ % _ALIGNED


def packed_note(owner: str, contents: bytes) -> bytes:
    """Return a note as a core holds it: owner and contents padded to four bytes each."""
    label = owner.encode() + b"\0"
    head = _HEAD.pack(len(label), len(contents), 0)
    return head + label + bytes(-len(label) % _ALIGNED) + contents + bytes(-len(contents) % _ALIGNED)
