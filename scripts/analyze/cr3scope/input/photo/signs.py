"""By what a photo of a screen, or the text of its codes, is known: all that a file which is none has to do with photos."""

from __future__ import annotations

from pathlib import Path

from cr3scope import limits
from cr3scope.input.capture.framing import SENTINEL
from cr3scope.input.first_bytes import first_bytes, is_plain

MARK = "C3S:"  # the first characters of each code
HEAD_BYTES = 16
# How a picture begins. A phone's HEIC is one as well, and Pillow reads none.
_SIGNS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"P5\n", b"P6\n", b"P5 ", b"P6 ", b"RIFF", b"GIF8")
_HEIC = (b"ftypheic", b"ftypheix", b"ftypmif1", b"ftyphevc")
_HEIC_AT = 4
_BMP, _BMP_ZEROS = b"BM", slice(6, 10)  # a console's first word may be "BMC"


def is_photo(path: Path) -> bool:
    """Return whether a file is a picture, or a text of scanned codes; UnusableInput if it cannot be read."""
    if not is_plain(path):
        return False
    head = first_bytes(path, limits.PHOTO_TEXT_BYTES)
    return is_picture(head[:HEAD_BYTES]) or (MARK.encode() in head and SENTINEL not in head)


def is_picture(head: bytes) -> bool:
    """Return whether a file of these first bytes is a picture."""
    is_bmp = head.startswith(_BMP) and head[_BMP_ZEROS] == bytes(4)
    return head.startswith(_SIGNS) or is_bmp or is_heic(head)


def is_heic(head: bytes) -> bool:
    """Return whether a file of these first bytes is a picture in HEIC."""
    return head[_HEIC_AT:].startswith(_HEIC)
