"""Columns of numbers to lines of text, all rows at once: a list may have millions of rows.

A block is a matrix of bytes with one line a row, so each cell has the same width in all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from cr3scope.arrays import U64

if TYPE_CHECKING:
    import numpy.typing as npt

Cells: TypeAlias = "npt.NDArray[np.uint8]"

PHYS_DIGITS = 13  # of an address of 52 bits
BLOCK_ROWS = 1 << 12  # so many lines stay in a CPU's cache while they are put together

_DIGITS = 16
_PREFIX = np.frombuffer(b'"0x', dtype=np.uint8)
_SPACE, _QUOTE = b' "'


def _digits_of_words() -> npt.NDArray[np.uint32]:
    """The four digits of each 16-bit number, as one item."""
    pairs = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), dtype=np.uint16)
    words: npt.NDArray[np.uint16] = np.stack([np.repeat(pairs, 256), np.tile(pairs, 256)], axis=1)
    return words.ravel().view(np.uint32)


_WORDS = _digits_of_words()


def blocks(rows: int) -> Iterator[slice]:
    """Yield the rows in portions."""
    for start in range(0, rows, BLOCK_ROWS):
        yield slice(start, min(start + BLOCK_ROWS, rows))


def hex_digits(column: U64, digits: int = _DIGITS) -> Cells:
    """Return the last ``digits`` hex digits of each number, with leading zeros."""
    words = -(-digits // 4)
    in_order = column.astype(">u8").view(">u2").reshape(-1, 4)[:, 4 - words :]
    return _WORDS[in_order.astype(np.intp)].view(np.uint8)[:, 4 * words - digits :]


def quoted_hex(column: U64) -> Cells:
    """Return each number as ``"0x1000"`` with the quotation marks, without leading zeros, as wide as the longest."""
    digits = len(f"{int(column.max()):x}")
    cells = np.empty((len(column), len(_PREFIX) + digits + 1), dtype=np.uint8)
    cells[:, : len(_PREFIX)] = _PREFIX
    _put(cells[:, len(_PREFIX) : -1], hex_digits(column, digits))
    cells[:, -1] = _QUOTE
    for zeros in range(1, digits):
        rows = np.flatnonzero(column < 1 << 4 * (digits - zeros))
        if not len(rows):
            break
        cells[rows, :zeros] = _SPACE
        cells[rows, zeros : zeros + len(_PREFIX)] = _PREFIX
    return cells


def choices(texts: Sequence[str]) -> Cells:
    """Return a matrix to index with a column of numbers: the text of each number, padded to one width."""
    width = max(map(len, texts))
    padded = "".join(text.ljust(width) for text in texts).encode("ascii")
    return np.frombuffer(padded, dtype=np.uint8).reshape(len(texts), width)


def lines(cells: Sequence[Cells | str], rows: int) -> str:
    """Return the lines that cells and the constant text between them make, put side by side."""
    parts = [choices([cell]) if isinstance(cell, str) else cell for cell in cells]
    block = np.empty((rows, sum(part.shape[-1] for part in parts)), dtype=np.uint8)
    at = 0
    for part in parts:
        _put(block[:, at : at + part.shape[-1]], part)
        at += part.shape[-1]
    return str(block.data, "ascii")


def _put(target: Cells, cells: Cells) -> None:
    """Copies cells; a cell is one item, since to copy byte by byte takes several times as long."""
    item = f"V{cells.shape[-1]}"
    target.view(item)[...] = cells.view(item)
