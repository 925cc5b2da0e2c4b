"""Writes physical memory and a CPU as the ELF core that :mod:`cr3scope.input.sources.elf_core` reads."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from cr3scope.input.sources.core_note import (
    OWN_NOTE,
    QEMU_NOTE,
    TRACE_NOTE,
    CoreCpu,
    write_cpu,
    write_own,
)
from cr3scope.elf.head import CORE, LOAD, NOTE, X86_64
from cr3scope.elf.notes import packed_note
from cr3scope.x86.entry import PAGE_BYTES

_ELF = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_MOST_SEGMENTS = 0xFFFE  # 0xFFFF means that the count stands elsewhere


def write_core(
    one: CoreCpu, pages: Mapping[int, bytes], words: Mapping[str, str] | None = None, trace: bytes = b""
) -> bytes:  # fmt: skip
    """Return a core with these pages of physical memory; ValueError if there are too many pieces.

    ``words``: what QEMU's note has no place for (``efer``, ``maxphyaddr``, ``platform``, ``ram``).
    ``trace``: of the boot, as its sink received it; kept as it is.
    """
    runs = _runs(pages)
    if len(runs) >= _MOST_SEGMENTS:
        raise ValueError(f"{len(runs)} separate pieces of memory are too many for an ELF core")
    note = packed_note(QEMU_NOTE, write_cpu(one))
    if words:
        note += packed_note(OWN_NOTE, write_own(words))
    if trace:
        note += packed_note(TRACE_NOTE, trace)
    at = _ELF.size + _SEGMENT.size * (len(runs) + 1)
    heads = [_SEGMENT.pack(NOTE, 0, at, 0, 0, len(note), len(note), 4)]
    at += len(note)
    for phys, data in runs:
        heads.append(_SEGMENT.pack(LOAD, 6, at, 0, phys, len(data), len(data), 1))
        at += len(data)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head = _ELF.pack(ident, CORE, X86_64, 1, 0, _ELF.size, 0, 0, _ELF.size, _SEGMENT.size,
                     len(heads), 0, 0, 0)  # fmt: skip
    return b"".join([head, *heads, note, *(data for _, data in runs)])


def _runs(pages: Mapping[int, bytes]) -> list[tuple[int, bytes]]:
    """Neighbouring pages joined."""
    runs: list[tuple[int, list[bytes]]] = []
    for phys in sorted(pages):
        if runs and runs[-1][0] + PAGE_BYTES * len(runs[-1][1]) == phys:
            runs[-1][1].append(pages[phys])
        else:
            runs.append((phys, [pages[phys]]))
    return [(phys, b"".join(data)) for phys, data in runs]
