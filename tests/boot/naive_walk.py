"""A walk of page tables in a memory image, written without the project's model: the slow, plain way.

Intel SDM volume 3A, chapter 5: entries of 8 bytes, 512 a table, bits 51:12 the address of the next.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

FRAME = 0x000F_FFFF_FFFF_F000
NX = 1 << 63


@dataclass(frozen=True, slots=True)
class Page:
    """One leaf: where it maps, and the rights after all levels."""

    virt: int
    phys: int
    size: int
    writable: bool
    executable: bool


def pages(memory: bytes, cr3: int, levels: int) -> Iterator[Page]:
    """Every leaf, in order of address; the window of a self-map included."""

    def descend(table: int, level: int, virt: int, writable: bool, executable: bool) -> Iterator[Page]:
        for index, entry in enumerate(struct.unpack_from("<512Q", memory, table)):
            if not entry & 1:
                continue
            here = virt | index << (12 + 9 * (level - 1))
            now_writable = writable and bool(entry & 2)
            now_executable = executable and not entry & NX
            if level == 1 or (level < 4 and entry & 0x80):
                size = 1 << (12 + 9 * (level - 1))
                phys = entry & FRAME & ~(size - 1)
                yield Page(canonical(here, levels), phys, size, now_writable, now_executable)
            else:
                yield from descend(entry & FRAME, level - 1, here, now_writable, now_executable)

    yield from descend(cr3 & FRAME, levels, 0, True, True)


def canonical(virt: int, levels: int) -> int:
    """The address with its top bit copied upwards."""
    top = 12 + 9 * levels - 1
    return virt | (-1 << top) & (1 << 64) - 1 if virt >> top & 1 else virt
