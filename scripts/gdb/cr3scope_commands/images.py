"""Loaded PE images in guest memory: the one that holds the PC."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from cr3scope.errors import UnusableInput
from cr3scope.paging.entry import PAGE_BYTES
from cr3scope_commands.target import Stop

_MOST_BACK = 64 << 20
_HEADER_AT = 0x3C  # e_lfanew, PE format specification, "MS-DOS stub"
_OPTIONAL_AT = 24
_SIZE_OF_IMAGE_AT = _OPTIONAL_AT + 56
_PE32_PLUS = 0x20B
_MOST_HEADER = 0x400


@dataclass(frozen=True, slots=True)
class Image:
    """A PE image as the firmware placed it."""

    base: int
    size: int


def image_at(now: Stop, pc: int) -> Image:
    """Scans back to the header; UnusableInput if none covers ``pc``."""
    page = pc & -PAGE_BYTES
    for base in range(page, max(page - _MOST_BACK, -1), -PAGE_BYTES):
        head = now.bytes_at(base, PAGE_BYTES)
        if not head:
            break
        size = _size_of_image(head)
        if size is not None and base <= pc < base + size:
            return Image(base, size)
    raise UnusableInput(f"no PE image in memory holds {pc:#x}")


def _size_of_image(head: bytes) -> int | None:
    if head[:2] != b"MZ" or len(head) < PAGE_BYTES:
        return None
    at = struct.unpack_from("<I", head, _HEADER_AT)[0]
    if at > _MOST_HEADER or head[at : at + 4] != b"PE\0\0":
        return None
    if struct.unpack_from("<H", head, at + _OPTIONAL_AT)[0] != _PE32_PLUS:
        return None
    size: int = struct.unpack_from("<I", head, at + _SIZE_OF_IMAGE_AT)[0]
    return size if PAGE_BYTES <= size <= _MOST_BACK else None
