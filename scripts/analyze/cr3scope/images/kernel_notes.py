"""What a kernel's ELF file declares in notes of owner CR3SCOPE: its first accesses (docs/handoff.md)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from cr3scope.input.sources.elf_notes import read_notes

_OWNER = b"CR3SCOPE"
_ACCESS = 2  # the note's type
_ACCESS_HEAD = struct.Struct("<QqIII")  # rip, offset, kind, base, width; the name follows


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
    """Yield the accesses to what is handed over; nothing of notes of other owners, or behind one that is cut."""
    try:
        for note in read_notes(section):
            if note.kind != _ACCESS or note.owner != _OWNER or len(note.contents) < _ACCESS_HEAD.size:
                continue
            rip, offset, _, base, _ = _ACCESS_HEAD.unpack_from(note.contents)
            if base in Base._value2member_map_:
                yield DeclaredAccess(rip, offset, Base(base))
    except ValueError:
        return
