"""What a kernel's ELF file declares in notes of owner CR3SCOPE: its first accesses, and whether it goes on with the trace
(docs/handoff.md).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum

from cr3scope.dataclass import dataclass
from cr3scope.elf.notes import read_notes

_OWNER = b"CR3SCOPE"
_FLAGS, _ACCESS = 1, 2  # the note's type
TRACES = 1  # a flag: the kernel goes on with the trace
_WORD = struct.Struct("<I")
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


def declared_flags(section: bytes) -> int | None:
    """Return the flags that the last note of them sets, which counts; None if there is none. ValueError if a note reaches
    beyond the section.
    """
    told = (note.contents for note in read_notes(section) if (note.owner, note.kind) == (_OWNER, _FLAGS))
    flags: list[int] = [_WORD.unpack_from(words)[0] for words in told if len(words) >= _WORD.size]
    return flags[-1] if flags else None
