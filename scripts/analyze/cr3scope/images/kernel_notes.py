"""What a kernel's ELF file declares in notes of owner CR3SCOPE: its first accesses (docs/handoff.md)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

_OWNER = b"CR3SCOPE\0"
_ACCESS = 2  # the note's type
_NOTE_HEAD = struct.Struct("<III")  # lengths of name and description, type
_ACCESS_HEAD = struct.Struct("<QqIII")  # rip, offset, kind, base, width; the name follows
_ALIGNED = 4


class Base(IntEnum):
    """What is handed over and accessed: those of ``handoff_access_base`` in handoff.h, without stack and own addresses."""

    INFO = 1
    FRAMEBUFFER = 3
    INITRD = 4
    MEMORY_MAP = 5
    FRAMEBUFFER_END = 6


@dataclass(frozen=True, slots=True)
class DeclaredAccess:
    """The instruction at ``rip``, as linked, touches what lies ``offset`` bytes from where ``base`` begins, or ends."""

    rip: int
    offset: int
    base: Base


def declared_accesses(section: bytes) -> Iterator[DeclaredAccess]:
    """Yield the accesses to what is handed over; nothing of notes of other owners, or that are cut."""
    at = 0
    while at + _NOTE_HEAD.size <= len(section):
        name_bytes, bytes_, kind = _NOTE_HEAD.unpack_from(section, at)
        name_at = at + _NOTE_HEAD.size
        begin = name_at + name_bytes + -name_bytes % _ALIGNED
        at = begin + bytes_ + -bytes_ % _ALIGNED
        if kind != _ACCESS or section[name_at : name_at + name_bytes] != _OWNER:
            continue
        if bytes_ < _ACCESS_HEAD.size or begin + bytes_ > len(section):
            continue
        rip, offset, _, base, _ = _ACCESS_HEAD.unpack_from(section, begin)
        if base in Base._value2member_map_:
            yield DeclaredAccess(rip, offset, Base(base))
