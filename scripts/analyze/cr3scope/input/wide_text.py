"""Text of two bytes a character, as some shells redirect: which it is, and its characters."""

from __future__ import annotations

PROBE = 64  # bytes of the beginning that tell


def encoding_of(begin: bytes) -> tuple[int, int | None]:
    """Return how many bytes come before the text, and which byte of each pair is the character: None if all are."""
    marked = {b"\xff\xfe": 0, b"\xfe\xff": 1}.get(begin[:2])
    if marked is not None:
        return 2, marked
    for character in (0, 1):
        if all(begin[character::2]) and not any(begin[1 - character :: 2]) and begin[2:]:
            return 0, character
    return 0, None


def narrowed(data: bytes) -> bytes:
    """Return the text with one byte for each character."""
    skip, wide = encoding_of(data[:PROBE])
    return data if wide is None else data[skip + wide :: 2]
